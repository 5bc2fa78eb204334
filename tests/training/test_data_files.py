"""The families' files in data/seeds and data/eval: whole, right, and apart from each other."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import yaml

from tests.training.solvers import SOLVERS
from training import check, data_files
from training.settings import DATA, Settings, family_names
from training.settings import settings as family_settings

Row = dict[str, Any]
SEED_FILES = ("prose-seeds", "mixed", "hard")
HARNESS = ("full", "demo", "choosing", "confirm", "second")
PAIRS = [(family, kind) for family in family_names() for kind in HARNESS]


def _rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def files(family: Settings) -> dict[str, list[Row]]:
    """Rows by file; the seeds by kind, without the family's name."""
    seeds = {
        {"prose": "prose-seeds"}.get(kind, kind): _rows(DATA / "seeds" / f"{family.name}-{kind}.jsonl")
        for kind in ("prose", "mixed", "hard")
    }
    evaluation = DATA / "eval" / family.name
    return {**seeds, **{path.stem: _rows(path) for path in evaluation.glob("*.jsonl")}}


def test_the_generator_writes_the_committed_bytes(family: Settings, tmp_path: Path) -> None:
    data_files.write_all(family, tmp_path)
    written = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) == 15
    for path in written:
        committed = DATA / path.relative_to(tmp_path)
        assert path.read_bytes() == committed.read_bytes(), path.name
    evaluation = {path.name for path in written if path.parent.name == family.name}
    assert evaluation == {path.name for path in (DATA / "eval" / family.name).iterdir()}


def test_sizes(files: dict[str, list[Row]]) -> None:
    assert {name: len(rows) for name, rows in files.items()} == {
        "prose-seeds": 512,
        "mixed": 1024,
        "hard": 80,
        "test": 3072,
        "demo": 1024,
        "development": 256,
        "choosing": 1536,
        "confirm": 1536,
        "prose": 96,
    }
    for name, rows in files.items():
        text = "question" if "question" in rows[0] else "text"
        assert len({row["id"] for row in rows}) == len(rows), name
        assert len({row[text] for row in rows}) == len(rows), name


def test_the_demo_is_a_balanced_part_of_the_test(family: Settings, files: dict[str, list[Row]]) -> None:
    assert files["demo"] == files["test"][: len(files["demo"])]
    for name in ("demo", "test", "development", "choosing", "confirm"):
        cells = Counter((row["task"], row["level"]) for row in files[name])
        assert len(cells) == 14 * 4
        assert max(cells.values()) - min(cells.values()) <= 1
        assert {task for task, _ in cells} == set(family.tasks)


@pytest.mark.parametrize("name", ["test", "development", "choosing", "confirm", "mixed", "hard"])
def test_answers_are_right(family: Settings, files: dict[str, list[Row]], name: str) -> None:
    for row in (row for row in files[name] if "answer" in row):
        task, question = row.get("task") or row["domain"], row.get("question") or row["text"]
        assert SOLVERS[family.name][task](question) == row["answer"], question


def test_nothing_held_out_occurs_elsewhere(files: dict[str, list[Row]]) -> None:
    questions = {row["question"] for name in ("test", "confirm") for row in files[name]}
    assert len(questions) == 3072 + 1536
    held_out = questions | {row["text"] for row in files["prose"]}
    for name in (*SEED_FILES, "development", "choosing"):
        texts = [row.get("question") or row["text"] for row in files[name]]
        assert held_out.isdisjoint(texts), name
        together = "\n" + "\n".join(texts) + "\n"
        assert not [text for text in held_out if f"\n{text}\n" in together], name
    development = {row["question"] for name in ("development", "choosing") for row in files[name]}
    assert len(development) == 256 + 1536
    assert development.isdisjoint(row["text"] for row in files["mixed"])


@pytest.mark.parametrize(
    ("names", "bucket"),
    [(("test", "confirm", "prose"), 0), (("development", "choosing"), 1), (SEED_FILES, 2)],
)
def test_the_hash_puts_every_row_where_it_is(
    files: dict[str, list[Row]], names: tuple[str, ...], bucket: int
) -> None:
    for name in names:
        texts = [row.get("question") or row["text"] for row in files[name]]
        assert {crc32(text.encode()) % 16 for text in texts} == {bucket}, name


def test_mixed_seeds_are_prose_and_questions_in_turn(files: dict[str, list[Row]]) -> None:
    assert files["mixed"][0::2] == files["prose-seeds"]
    assert {row["kind"] for row in files["mixed"][1::2]} == {"question"}
    for row in files["mixed"]:
        assert row["licence"] == "Apache-2.0"
        assert ("answer" in row) == (row["kind"] == "question")


def test_hard_seeds_are_where_targets_fail_and_the_teacher_does_not(
    family: Settings, files: dict[str, list[Row]]
) -> None:
    """By the members' accuracy on development questions."""
    smallest, *_, largest = family.shipped
    for task, levels in family.hard.items():
        for level in levels:
            weak, strong = (
                json.loads((DATA / "models" / member.name / "training.json").read_text())["evaluation"]
                for member in (smallest, largest)
            )
            assert weak["tasks"][task]["levels"][str(level)] <= 1 / 3
            assert strong["tasks"][task]["levels"][str(level)] >= 0.9
    counts = Counter(row["domain"] for row in files["hard"])
    assert set(counts) == set(family.hard) and max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_the_harness_tasks_read_the_answer(name: str, kind: str) -> None:
    chat, folder = family_settings(name).chat, DATA / "eval" / name
    written = (folder / f"{name}_{kind}.yaml").read_text(encoding="utf-8")
    task = yaml.safe_load(written.replace("!function ", ""))
    assert task["task"] == f"{name}_{kind}"
    file = {"full": "test.jsonl", "second": "test.jsonl"}.get(kind, f"{kind}.jsonl")
    assert task["dataset_kwargs"]["data_files"] == {"test": file}
    assert task["generation_kwargs"]["until"] == [chat.end]
    (first, _) = task["filter_list"][0]["filter"]
    for row in _rows(folder / file)[:256]:
        written = chat.completion("Some reasoning.", f"Answer: {row['answer']}").split(chat.end)[0]
        assert re.findall(first["regex_pattern"], written) == [row["answer"]]


def test_the_check_finds_a_moved_question(tmp_path: Path) -> None:
    """`python -m training check` refuses a file that holds a question of another split."""
    kin = family_settings("kin")
    row = _rows(DATA / "eval/kin/test.jsonl")[0]
    with pytest.raises(check.CheckError, match="not of the split seeds"):
        check.same_split("seeds", [row["question"]], "seeds")
    shutil.copytree(DATA / "eval/kin", tmp_path / "eval/kin")
    shutil.copytree(DATA / "seeds", tmp_path / "seeds")
    path = tmp_path / "eval/kin/test.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    with pytest.raises(check.CheckError, match=r"test\.jsonl is not what the generator writes"):
        check.run(kin, tmp_path)
