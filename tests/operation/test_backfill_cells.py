"""Which cells a backfill is of, and what its plan says of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.execution.graph import STAGES
from tests.orchestration.conftest import Run, faq  # noqa: F401

FOUR = "tiny-raw,tiny-chat,tiny-rtn,tiny-faq"


@pytest.fixture
def plan(faq: Run, matrix_data: Path) -> Any:  # noqa: F811
    def of(members: str, recipes: str) -> dict[str, Any]:
        done = faq(matrix_data, "backfill", "--members", members, "--recipes", recipes, "--dry-run", "--json")
        assert done.code == 0, done
        return {**json.loads(done.out), "err": done.err}

    return of


def cells(plan: dict[str, Any]) -> set[tuple[str, str]]:
    return {(row["member"].partition("@")[0], row["recipe"]) for row in plan["plan"]}


def test_a_stage_that_several_cells_share_is_made_once(plan: Any) -> None:
    """Also where its inputs are not made yet, so that it has no fingerprint."""
    found = plan("tiny-s,tiny-m", FOUR)
    assert len(cells(found)) == 8 and len(found["plan"]) == 8 * len(STAGES)
    made = Counter(row["asset"] for row in found["plan"] if row["cache"] == "miss")
    assert made == {
        "seed_data": 1,
        "inference_traces": 2,
        "reference_eval": 2,
        # The seeds passed through, and what tiny-l makes of them: for both targets.
        "regenerated_corpus": 2,
        "competition_scores": 2,
        "calibration_set": 6,
        "quantized_checkpoint": 8,
        "eval_report": 8,
    }
    later = [row for row in found["plan"] if row["shared"]]
    assert len(later) + sum(made.values()) == len(found["plan"])
    assert all(row["cache"] == "hit" and row["seconds"] is None for row in later)


def test_cells_that_cannot_be_are_left_out_of_all_with_a_word(plan: Any) -> None:
    found = plan("all", "tiny-faq,tiny-raw")
    assert cells(found) == {
        (m, r) for m in ("tiny-s", "tiny-m", "tiny-l") for r in ("tiny-faq", "tiny-raw")
    } - {("tiny-l", "tiny-faq")}
    (key,) = found["left_out"]
    assert key.startswith("tiny-l") and key.endswith("|tiny-faq")
    assert "it is the largest" in found["left_out"][key] and f"skipped {key}: no teacher" in found["err"]


def test_all_recipes_of_a_member_are_those_for_its_family(plan: Any) -> None:
    found = plan("tiny-s", "all")
    assert cells(found) == {("tiny-s", name) for name in (*FOUR.split(","), "tiny-lost")}
    assert not found["left_out"]


def test_a_named_cell_that_cannot_be_is_a_mistake(faq: Run, matrix_data: Path) -> None:  # noqa: F811
    named = faq(matrix_data, "backfill", "--members", "tiny-s,tiny-l", "--recipes", "tiny-faq", "--dry-run")
    assert "no teacher for 'tiny-l'" in named.mistake and "remove that cell" in named.mistake


def test_a_name_without_any_cell_is_a_mistake(faq: Run, matrix_data: Path) -> None:  # noqa: F811
    for members, recipes, told in (
        ("tiny-s,kin-4m", "tiny-raw", "none of these recipes is for the family of 'kin-4m'"),
        ("tiny-s", "tiny-raw,rtn-w3a16", "recipe 'rtn-w3a16' is not for the family of any of these members"),
        ("all,tiny-s", "tiny-raw", "'all' cannot be combined"),
    ):
        done = faq(matrix_data, "backfill", "--members", members, "--recipes", recipes, "--dry-run")
        assert told in done.mistake


def test_a_member_may_be_named_with_its_revision_and_counts_once(
    plan: Any,
    faq: Run,  # noqa: F811
    matrix_data: Path,
) -> None:
    (key,) = {row["member"] for row in plan("tiny-s", "tiny-raw")["plan"]}
    assert key.startswith("tiny-s@")
    assert {row["member"] for row in plan(key, "tiny-raw")["plan"]} == {key}
    assert len(plan(f"tiny-s,{key}", "tiny-raw")["plan"]) == len(STAGES)
    gone = faq(matrix_data, "backfill", "--members", "tiny-s@00000000", "--recipes", "tiny-raw", "--dry-run")
    assert "is not here any more" in gone.mistake


def test_the_table_has_a_line_a_cell(faq: Run, matrix_data: Path) -> None:  # noqa: F811
    done = faq(matrix_data, "backfill", "--members", "tiny-s,tiny-m", "--recipes", FOUR, "--dry-run")
    assert done.out.count("tiny-s@") == done.out.count("tiny-m@") == 1 and done.out.count("0/8") == 8
    told = " ".join(done.out.split())
    assert "0 hits, 31 to make, " in told
    assert "; 33 more are shared: each is made once in this run, for the first cell that needs it" in told


def test_what_to_do_is_said_once_and_wholly(faq: Run, matrix_data: Path) -> None:  # noqa: F811
    for arguments in ((), ("--follow", "x", "--cancel", "x"), ("--follow", "x", "--members", "y")):
        assert "--follow ID" in faq(matrix_data, "backfill", *arguments).mistake
    assert "empty list of names" in faq(matrix_data, "backfill", "--members", "tiny-s").mistake


def test_a_backfill_that_is_not_there_cannot_be_followed(faq: Run, matrix_data: Path) -> None:  # noqa: F811
    assert "no backfill 'nowhere'" in faq(matrix_data, "backfill", "--follow", "nowhere").mistake
