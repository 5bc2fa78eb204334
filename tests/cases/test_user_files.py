"""Seeds, recipes and folders as people have them: a mistake is one line with its place, before any work."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from faq_pipeline.settings import REPOSITORY
from tests.cases.conftest import Lab
from tests.orchestration.cli import Faq


def test_a_line_of_brackets_is_told_by_file_and_line(lab: Lab) -> None:
    """A seed file with a damaged line of 100,000 brackets is refused by file and line."""
    path = lab.root / "seeds/mixed.jsonl"
    lines = path.read_text().splitlines()
    deep = '{"id": "x", "kind": "text", "text": ' + "[" * 100_000 + "]" * 100_000 + "}"
    path.write_text("\n".join([*lines, deep]) + "\n")
    assert f"{path}:{len(lines) + 1}: " in lab.plan().refusal


def test_half_of_an_emoji_is_told_by_file_and_line(lab: Lab) -> None:
    """A seed whose text holds a lone surrogate is refused by file and line."""
    path = lab.root / "seeds/mixed.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2]["text"] += " \ud83d"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert f"{path}:3: " in lab.plan().refusal


@pytest.mark.parametrize("entry", ["*.mlp.*", "model.layers.9.mlp.down_proj"])
def test_an_entry_of_ignore_that_matches_nothing_is_told(lab: Lab, entry: str) -> None:
    """The plan refuses the entry, or notes that it matches no layer."""
    with (lab.root / "recipes/original.yaml").open("a") as recipe:
        recipe.write(f"quantization: {{ignore: [lm_head, {json.dumps(entry)}]}}\n")
    told = lab.plan()
    assert told.code == 0 or told.refusal, told.said
    assert entry in told.said and ("match" in told.said or "no layer" in told.said)


def test_a_working_folder_that_is_gone_does_no_harm(lab_data: Path, tmp_path: Path) -> None:
    """Started in a folder that was removed meanwhile, a command runs or is refused in one line."""
    gone, faq = tmp_path / "gone", Faq(tmp_path / "home", lab_data)
    gone.mkdir()
    command = faq.command("run", "--member", "tiny-s", "--recipe", "original", "--dry-run")
    done = subprocess.run(
        ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(gone), *command],
        env={**faq.environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
