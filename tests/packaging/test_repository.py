"""The repository itself: its size, and that its checks name what is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from faq_pipeline import __version__
from faq_pipeline.settings import REPOSITORY

MOST = 38 * 2**20


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("no git checkout")
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return [REPOSITORY / name for name in done.stdout.split("\0") if name and (REPOSITORY / name).is_file()]


def test_tracked_files_take_at_most_38_mib(tracked: list[Path]) -> None:
    sizes = {path: path.lstat().st_size for path in tracked}
    largest = sorted(sizes, key=lambda path: -sizes[path])[:5]
    told = ", ".join(f"{path.relative_to(REPOSITORY)} {sizes[path]:,}" for path in largest)
    assert sum(sizes.values()) <= MOST, f"largest: {told} (python -m training pack FOLDER)"


def hooks() -> list[dict[str, Any]]:
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]  # none is fetched
    return [hook for repo in config["repos"] for hook in repo["hooks"]]


def test_hooks_run_what_the_development_group_installs() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    installed = {re.split(r"[><=\[]", name)[0] for name in project["dependency-groups"]["dev"]} | {"python"}
    for hook in hooks():
        assert hook["language"] == "system"
        assert Path(hook["entry"].split()[0]).parent == Path(".venv/bin")
        assert Path(hook["entry"].split()[0]).name in installed


def test_hooks_check_all_that_make_lint_checks() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    recipe = makefile[makefile.index("\nlint:") :].split("\n\n")[0]
    checks = re.findall(r"\$\(BIN\)/([\w -]+?)(?: --check)? ?\.?$", recipe, re.MULTILINE)
    entries = " ".join(hook["entry"] for hook in hooks())
    assert len(checks) == 4 and all(f".venv/bin/{check}" in entries for check in checks)


def test_every_phony_target_is_there_and_the_checks_call_them() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(phony.split()) == targets
    for script in (REPOSITORY / ".ci").iterdir():
        assert set(re.findall(r"\bmake ([a-z-]+)", script.read_text(encoding="utf-8"))) <= targets


def test_the_changelog_has_this_version() -> None:
    headings = re.findall(
        r"^## \[(.+?)\]", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings[0] == "Unreleased" and __version__ in headings
