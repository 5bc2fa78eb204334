"""Prompts out of files of every known kind, with the line of each row that is refused."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from faq_pipeline.errors import FaqError
from faq_pipeline.quickstart.seed_files import read_seed_file, seed_lines
from faq_pipeline.regeneration.seeds import load_seeds

PROMPTS = ["Why is the sky blue?", 'She said: "No, thanks".\nWhy?', "Was kostet das Öl?"]
ROWS = [{"prompt": prompt, "answer": str(number)} for number, prompt in enumerate(PROMPTS)]


def write(path: Path) -> Path:
    """The prompts in the form that the name asks for."""
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), path)
        return path
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        if kind in ("csv", "tsv"):
            writer = csv.DictWriter(file, ["prompt", "answer"], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(ROWS)
        elif kind == "json":
            json.dump(ROWS, file)
        else:
            file.writelines(json.dumps(row) + "\n" for row in ROWS)
    return path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.csv.gz", "a.tsv", "a.parquet", "a.ndjson"]
)
def test_each_kind_of_file_gives_the_same_prompts(tmp_path: Path, name: str) -> None:
    found = read_seed_file(write(tmp_path / name))
    assert [(seed.text, seed.answer) for seed in found.seeds] == [
        (row["prompt"], row["answer"]) for row in ROWS
    ]
    assert found.form == "column 'prompt'" and not found.refused
    assert {seed.source for seed in found.seeds} == {name}


def test_text_has_a_passage_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("It rains.\n\nIt pours.\n")
    found = read_seed_file(path)
    assert [(seed.text, seed.kind) for seed in found.seeds] == [("It rains.", "text"), ("It pours.", "text")]
    assert list(found.lines.values()) == [1, 3]


def test_what_is_written_is_a_seed_file_of_ours(tmp_path: Path) -> None:
    found = read_seed_file(write(tmp_path / "a.csv"))
    made = tmp_path / "made.jsonl"
    made.write_text(seed_lines(found.seeds), encoding="utf-8")
    assert load_seeds(made, 3) == found.seeds
    assert read_seed_file(made).form == "seeds"


def test_bad_lines_are_refused_with_their_number_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"prompt": "One?"}\n{"prompt": \n\n{"prompt": 7}\n{"prompt": "One?"}\n{"prompt": "Two?"}\n'
    )
    found = read_seed_file(path)
    assert [seed.text for seed in found.seeds] == ["One?", "Two?"]
    assert [(one.line, one.reason.partition(":")[0]) for one in found.refused] == [
        (2, "not valid JSON"),
        (4, "'prompt' is no text"),
        (5, "the same text as line 1"),
    ]


def test_a_row_of_too_many_cells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt\nOne?\nTwo, three?\n")
    (refused,) = read_seed_file(path).refused
    assert (refused.line, refused.reason) == (3, "more cells than the header has")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.xlsx", b"x", "unknown kind of seed file"),
        ("a.jsonl", b"", ":1: the file is empty (expected chat 'messages'"),
        ("a.jsonl", b'["One?"]\n', ":1: no usable row, the first: not an object (expected chat 'messages'"),
        ("a.jsonl", b'{"prompt": ""}\n', ":1: no usable row, the first: 'prompt' is empty"),
        ("a.jsonl", b'{"prompt": "\xff"}\n', "not UTF-8 text"),
        ("a.json", b'{"prompt": "One?"}', "expected a list of objects"),
        ("a.jsonl.gz", b"plain", "not a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20, "not a whole gzip file"),
        ("a.parquet", b"plain", "not a Parquet file"),
        ("a.csv", b"colour,size\nred,3\n", "no prompts in the keys colour, size"),
    ],
)
def test_a_file_without_prompts_is_told_in_one_line(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FaqError) as caught:
        read_seed_file(path)
    assert str(path) in str(caught.value) and problem in str(caught.value) and "\n" not in str(caught.value)
