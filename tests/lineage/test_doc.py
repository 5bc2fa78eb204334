"""The questions of docs/LINEAGE.md run, and mean what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.lineage.index import merge
from tests.lineage.conftest import Small
from tests.lineage.small_store import FAQ, RTN, fill

DOC = Path(__file__).parents[2] / "docs/LINEAGE.md"
TEXT = DOC.read_text(encoding="utf-8")
QUESTIONS = dict(re.findall(r"^\*\*([^*]+?)\*\*.*?```sql\n(.+?)```", TEXT, re.MULTILINE | re.DOTALL))


def answer(small: Small, start: str) -> list[tuple[Any, ...]]:
    (sql,) = [sql for question, sql in QUESTIONS.items() if question.startswith(start)]
    return small.ask(sql)


def test_every_block_is_found() -> None:
    assert len(QUESTIONS) == TEXT.count("```sql") >= 6


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_runs_and_has_an_answer(indexed: Small, question: str) -> None:
    assert indexed.ask(QUESTIONS[question])


def test_samples_of_checkpoints(indexed: Small) -> None:
    rows = answer(indexed, "Which samples")
    assert [row[4] for row in rows] == ["s0", "s1", "s10"]


def test_margins_are_within_the_group(indexed: Small) -> None:
    rows = answer(indexed, "By how much")
    assert [round(row[1], 6) for row in rows] == [0.4, 0.4, 0.4]
    assert all(row[2].endswith("no. 1") and row[3].endswith("no. 2") for row in rows)


def test_deciding_experts(indexed: Small) -> None:
    rows = {expert: (won, abstained) for expert, won, abstained in answer(indexed, "Which expert")}
    # Both favour number 2 of a group and number 1 wins; the second abstains on one group of three.
    assert rows["length"] == (0.0, 0.0)
    assert rows["teacher_likelihood"] == (0.0, pytest.approx(1 / 3))


def test_everything_from_a_seed(indexed: Small) -> None:
    rows = answer(indexed, "Everything made from one seed")
    assert {(row[4], row[5]) for row in rows} == {
        ("all", "accuracy"),
        ("all", "recovery"),
        ("prose", "kl"),
    }


def test_licences(indexed: Small) -> None:
    rows = {row[0]: row[1:] for row in answer(indexed, "Under which licences")}
    base, teacher, seeds = rows[indexed.made["checkpoint"].fingerprint]
    assert (base, teacher, sorted(seeds)) == ("Apache-2.0", "MIT", ["Apache-2.0", "CC-BY-4.0"])
    assert rows[indexed.made["rtn"].fingerprint] == ("Apache-2.0", None, None)


def test_recipes_compare_by_their_newest_runs(indexed: Small) -> None:
    fill(indexed.store, draw=1)
    merge(indexed.store, indexed.index)
    rows = [row for row in answer(indexed, "How do the recipes") if row[4] == "recovery"]
    assert [(row[1], row[2], row[5]) for row in rows] == [
        ("tiny-faq", "gptq", 0.95),
        ("tiny-rtn", "rtn", 0.7),
    ]


def test_shared_artifacts(indexed: Small) -> None:
    ((stage, fingerprint, recipes, _),) = answer(indexed, "Which artifacts serve")
    assert (stage, fingerprint) == ("reference_eval", indexed.made["reference"].fingerprint)
    assert recipes == [FAQ.split("|")[1], RTN.split("|")[1]]


def test_unused_candidates(indexed: Small) -> None:
    ((_, finish, candidates, tokens),) = answer(indexed, "Which candidates")
    assert (finish, candidates, tokens) == ("stop", 6, 3 * (10 + 12))


def test_the_doc_names_every_table_and_column(indexed: Small) -> None:
    for table, column in indexed.ask(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal"
    ):
        line = next((one for one in TEXT.splitlines() if re.match(rf"\|.*`{table}`", one)), None)
        assert line is not None, table
        if table not in ("winners", "losers", "evaluation_lineage", "schema_version"):
            assert f"`{column}`" in line or column == "fingerprint", (table, column)
