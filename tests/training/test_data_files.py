"""The files in data/seeds and data/eval/kin: whole, right, and apart from each other."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import yaml

from tests.training.solvers import SOLVERS
from training import chat, check, data_files
from training.data_files import EVAL, SEEDS
from training.tasks import names

Row = dict[str, Any]


def _rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def files() -> dict[str, list[Row]]:
    paths = [*SEEDS.glob("kin-*.jsonl"), *EVAL.glob("*.jsonl")]
    return {path.stem: _rows(path) for path in paths}


def test_the_generator_writes_the_committed_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds, evaluation = tmp_path / "seeds", tmp_path / "eval"
    monkeypatch.setattr(data_files, "SEEDS", seeds)
    monkeypatch.setattr(data_files, "EVAL", evaluation)
    data_files.write_all()
    written = sorted(path for folder in (seeds, evaluation) for path in folder.iterdir())
    assert len(written) == 13
    for path in written:
        committed = (SEEDS if path.parent == seeds else EVAL) / path.name
        assert path.read_bytes() == committed.read_bytes(), path.name


def test_sizes(files: dict[str, list[Row]]) -> None:
    assert {name: len(rows) for name, rows in files.items()} == {
        "kin-prose": 512,
        "kin-questions": 1024,
        "kin-mixed": 1024,
        "test": 3072,
        "demo": 256,
        "development": 256,
        "choosing": 3072,
        "confirm": 3072,
        "prose": 96,
    }
    for name, rows in files.items():
        text = "question" if "question" in rows[0] else "text"
        assert len({row["id"] for row in rows}) == len(rows), name
        assert len({row[text] for row in rows}) == len(rows), name


def test_the_demo_is_a_balanced_part_of_the_test(files: dict[str, list[Row]]) -> None:
    assert files["demo"] == files["test"][: len(files["demo"])]
    for name in ("demo", "test", "development", "choosing", "confirm"):
        cells = Counter((row["task"], row["level"]) for row in files[name])
        assert len(cells) == 14 * 4
        assert max(cells.values()) - min(cells.values()) <= 1
        assert {task for task, _ in cells} == set(names())


@pytest.mark.parametrize("name", ["test", "development", "choosing", "confirm", "kin-questions"])
def test_answers_are_right(files: dict[str, list[Row]], name: str) -> None:
    for row in files[name]:
        task, question = row.get("task") or row["domain"], row.get("question") or row["text"]
        assert SOLVERS[task](question) == row["answer"], question


def test_nothing_held_out_occurs_elsewhere(files: dict[str, list[Row]]) -> None:
    questions = {row["question"] for name in ("test", "confirm") for row in files[name]}
    assert len(questions) == 2 * 3072
    passages = {row["text"] for row in files["prose"]}
    held_out = questions | passages
    for name in ("kin-prose", "kin-questions", "kin-mixed", "development", "choosing"):
        texts = [row.get("question") or row["text"] for row in files[name]]
        assert held_out.isdisjoint(texts), name
        together = "\n" + "\n".join(texts) + "\n"
        assert not [text for text in held_out if f"\n{text}\n" in together], name
    development = {row["question"] for name in ("development", "choosing") for row in files[name]}
    assert len(development) == 256 + 3072
    assert development.isdisjoint(row["text"] for row in files["kin-mixed"])
    assert development.isdisjoint(row["text"] for row in files["kin-questions"])


@pytest.mark.parametrize(
    ("name", "bucket"),
    [
        ("test", 0),
        ("confirm", 0),
        ("prose", 0),
        ("development", 1),
        ("choosing", 1),
        ("kin-questions", 2),
        ("kin-prose", 2),
        ("kin-mixed", 2),
    ],
)
def test_the_hash_puts_every_row_where_it_is(files: dict[str, list[Row]], name: str, bucket: int) -> None:
    texts = [row.get("question") or row["text"] for row in files[name]]
    assert {crc32(text.encode()) % 16 for text in texts} == {bucket}


def test_mixed_seeds_are_the_other_two_in_turn(files: dict[str, list[Row]]) -> None:
    assert files["kin-mixed"][0::2] == files["kin-prose"]
    assert files["kin-mixed"][1::2] == files["kin-questions"][:512]
    for row in files["kin-mixed"]:
        assert row["licence"] == "Apache-2.0"
        assert ("answer" in row) == (row["kind"] == "question")


@pytest.mark.parametrize(("name", "file"), [("kin_full", "test.jsonl"), ("kin_demo", "demo.jsonl")])
def test_the_harness_tasks_read_the_answer(files: dict[str, list[Row]], name: str, file: str) -> None:
    task = yaml.safe_load((EVAL / f"{name}.yaml").read_text(encoding="utf-8"))
    assert task["task"] == name
    assert task["dataset_kwargs"]["data_files"] == {"test": file}
    assert task["generation_kwargs"]["until"] == [chat.END]
    (first, _) = task["filter_list"][0]["filter"]
    for row in files["demo"]:
        written = chat.completion("Some reasoning.", f"Answer: {row['answer']}").split(chat.END)[0]
        assert re.findall(first["regex_pattern"], written) == [row["answer"]]


def test_the_check_finds_a_moved_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m training check` refuses a file that holds a question of another split."""
    row = _rows(EVAL / "test.jsonl")[0]
    with pytest.raises(check.CheckError, match="not of the split seeds"):
        check._same_split("seeds", [row["question"]], "seeds")
    for path in EVAL.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    lines = (tmp_path / "test.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "test.jsonl").write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    monkeypatch.setattr(check, "EVAL", tmp_path)
    with pytest.raises(check.CheckError, match=r"test\.jsonl is not what the generator writes"):
        check.run()
