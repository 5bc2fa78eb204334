"""Fingerprints of the shipped cells are what they were at commit bd61d0c, but for competition_scores of
recipes that regenerate, where the rules for known answers changed (`competition.answers.RULES`), and for
reference_eval and eval_report, since the demo's questions are 1,024 instead of 256.

A change here re-makes every user's artifacts; raise the stage's version and regenerate deliberately
with `python -m tests.identity.make`. Recipes and members that are new are added by the same command,
whose diff then has added lines alone.
"""

from __future__ import annotations

import json

import pytest

from tests.identity.machine import AVX2
from tests.identity.make import FILE, Golden, fingerprints

GOLDEN: Golden = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made() -> Golden:
    return fingerprints()


def test_every_stage_and_every_cell_is_pinned(made: Golden) -> None:
    assert {stage: sorted(cells) for stage, cells in made.items()} == {
        stage: sorted(cells) for stage, cells in GOLDEN.items()
    }, "add what is new with `python -m tests.identity.make`"


@pytest.mark.parametrize("stage", sorted(GOLDEN))
def test_fingerprints_are_kept(stage: str, made: Golden) -> None:
    changed = [cell for cell, own in GOLDEN[stage].items() if made.get(stage, {}).get(cell) != own]
    assert not changed, "see the top of this file"


def test_float32_moves_what_a_model_computes_and_nothing_else(made: Golden) -> None:
    """On a processor that emulates bf16; passed-through text is the same everywhere."""
    emulated = fingerprints(AVX2)
    moved = {
        stage: {cell for cell, own in cells.items() if emulated[stage][cell] != own}
        for stage, cells in made.items()
    }
    every = set(made["seed_data"])
    by_model = {
        cell for cell in every if not cell.partition("|")[2].startswith(("original-", "random-tokens"))
    }
    served = {cell for cell in every if cell.endswith("-vllm")}
    assert moved["weights"] == moved["seed_data"] == set()
    assert moved["calibration_set"] == moved["quantized_checkpoint"] == every
    assert moved["reference_eval"] == moved["eval_report"] == moved["divergence"] == every
    assert moved["inference_traces"] == every - served  # vLLM computes in bf16 everywhere
    assert moved["regenerated_corpus"] <= by_model - served
