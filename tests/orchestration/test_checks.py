"""Asset checks: each contract, kept and broken; and what a blocking one stops."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.check import CheckResult
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import Sample, Seed, Standing
from faq_pipeline.store.store import Key, Store
from faq_pipeline.store.tables import write_rows
from tests.orchestration.conftest import Run

SEED = Seed("s0", "How many harvests?", "question", None, "sums", "tests", "MIT")
EXPERTLY = Standing("c0", "s0", 1.0, 1, True)
SAMPLE = Sample("a0", "c0", "s0", "sums", 0, 0, 9, "The river town had a harvest.")
SOUND = {
    "loads": True,
    "load_error": None,
    "bytes": 10,
    "original_bytes": 40,
    "nan_tensors": [],
    "missing_tensors": [],
    "unquantized_linear_layers": ["lm_head"],
}

Find = Callable[..., CheckResult]
CHECKS = [(stage, check) for stage in STAGES.values() for check in stage.checks]


@pytest.fixture
def find(tiny_cell: Cell, tmp_path: Path) -> Find:
    """The result of a check on an artifact made for it."""

    def run(name: str, *, metadata: dict[str, Any] | None = None, **tables: list[Any]) -> CheckResult:
        def build(folder: Path) -> dict[str, Any]:
            for table, rows in tables.items():
                write_rows(folder / f"{table}.parquet", rows, type(rows[0]) if rows else Standing)
            return metadata or {}

        ((stage, check),) = (pair for pair in CHECKS if pair[1].name == name)
        key = Key(stage.name, 1, "f" * 20, {}, {}, {})
        artifact, _ = Store(tmp_path / "store").produce(key, build)
        return check.run(tiny_cell, Artifact(artifact.path))

    return run


def test_every_check_has_a_name_of_its_own_and_those_that_must_block_do() -> None:
    assert len({check.name for _, check in CHECKS}) == len(CHECKS)
    assert {check.name for _, check in CHECKS if check.blocking} == {
        "schema_and_duplicates",
        "one_winner_a_group",
        "contamination",
        "half_full",
        "sound_checkpoint",
        "no_silent_fallback",
    }


@pytest.mark.parametrize(
    ("seeds", "passed", "repeated_texts"),
    [
        ([SEED, Seed(**{**SEED.__dict__, "id": "s1"})], True, 1),
        ([SEED, SEED], False, 1),
        ([Seed(**{**SEED.__dict__, "text": "  "})], False, 0),
    ],
)
def test_seeds(find: Find, seeds: list[Seed], passed: bool, repeated_texts: int) -> None:
    result = find("schema_and_duplicates", seeds=seeds)
    assert result.passed == passed and result.metadata["repeated_texts"] == repeated_texts


@pytest.mark.parametrize(("truncated", "passed"), [(2, True), (3, False)])
def test_candidates_that_are_cut_empty_or_looping(find: Find, truncated: int, passed: bool) -> None:
    figures = {"candidates": 20, "truncated": truncated, "empty": 1, "looping": 1}
    result = find("candidate_quality", metadata=figures)
    assert result.passed == passed and result.metadata["share"] == (truncated + 2) / 20


@pytest.mark.parametrize(
    ("standings", "passed"),
    [
        ([EXPERTLY, Standing("c1", "s0", 0.0, 2, False), Standing("c2", "s1", None, 1, False)], True),
        ([EXPERTLY, Standing("c1", "s0", 0.0, 2, True)], False),
        ([Standing("c1", "s0", 0.0, 1, False)], True),  # the calibration set tells what is missing
        ([], False),
    ],
)
def test_winners(find: Find, standings: list[Standing], passed: bool) -> None:
    assert find("one_winner_a_group", standings=standings).passed == passed


@pytest.mark.parametrize(("tokens", "passed"), [(128, True), (118, True), (112, False), (129, False)])
def test_the_budget(find: Find, tokens: int, passed: bool) -> None:
    assert find("token_budget", metadata={"tokens": tokens}).passed == passed


@pytest.mark.parametrize(("tokens", "passed"), [(64, True), (63, False)])
def test_half_of_the_budget(find: Find, tokens: int, passed: bool) -> None:
    """Of a set made by an earlier version too, whose metadata say less."""
    found = find("half_full", metadata={"tokens": tokens, "budget": 128, "samples": 4})
    assert found.passed == passed
    assert passed or found.metadata["holds"] == "63 of 128 tokens (49%) in 4 samples of 4 seeds"


@pytest.mark.parametrize(
    ("changed", "passed"),
    [
        ({}, True),
        ({"loads": False, "load_error": "size mismatch"}, False),
        ({"bytes": 40}, False),
        ({"nan_tensors": ["lm_head.weight"]}, False),
        ({"missing_tensors": ["lm_head.weight"]}, False),
        ({"wrong_shapes": []}, True),
        ({"wrong_shapes": ["lm_head.weight: 9, expected 10"]}, False),
        ({"unquantized_linear_layers": ["lm_head", "model.layers.0.mlp.up_proj"]}, False),
    ],
    ids=str,
)
def test_a_checkpoint(find: Find, changed: dict[str, Any], passed: bool) -> None:
    """Also one of an earlier version, which compared no shapes."""
    result = find("sound_checkpoint", metadata={"inspection": {**SOUND, **changed}})
    assert result.passed == passed and result.metadata["loads"] == {**SOUND, **changed}["loads"]


def test_a_module_that_fell_back(find: Find) -> None:
    result = find("no_silent_fallback", metadata={"rtn_fallback": ["model.layers.0.mlp.up_proj"]})
    assert not result.passed and result.metadata["modules"] == ["model.layers.0.mlp.up_proj"]


@pytest.mark.parametrize(
    ("metadata", "passed"),
    [
        ({"gate": None}, True),
        ({"gate": {"threshold": 0.9, "passed": True}, "recovery": {"value": 1, "low": 0.95}}, True),
        ({"gate": {"threshold": 0.9, "passed": False}, "recovery": {"value": 0.95, "low": 0.8}}, False),
        ({"gate": {"threshold": 0.9, "passed": False}, "recovery": None}, False),
    ],
)
def test_the_gate(find: Find, metadata: dict[str, Any], passed: bool) -> None:
    assert find("recovery_gate", metadata=metadata).passed == passed


def test_contamination_tells_kinds_apart(find: Find) -> None:
    asked = Sample(**{**SAMPLE.__dict__, "id": "a1", "text": "So: what is 3 + 3?! It is 6."})
    renumbered = Sample(**{**SAMPLE.__dict__, "id": "a2", "text": "What is 93 + 93?"})
    result = find("contamination", samples=[SAMPLE, asked, renumbered])
    assert not result.passed
    assert result.metadata["leaks"] == 1 and result.metadata["same_but_for_numbers"] >= 1
    (example,) = result.metadata["examples"]
    assert example.startswith("a1 ~ tiny_sums/3 (exact): ")


@pytest.mark.slow
def test_a_leaked_question_stops_the_run(tiny_data: Path, tmp_path: Path, faq: Run) -> None:
    """An evaluation question, word for word, among seeds that are passed through."""
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    lines = (data / "seeds/mixed.jsonl").read_text().splitlines()
    leak = {"id": "leak", "kind": "question", "text": "What is 3 + 3?", "domain": "leaks"}
    (data / "seeds/mixed.jsonl").write_text("\n".join([*lines[:7], json.dumps(leak)]) + "\n")
    (data / "recipes/leaky.yaml").write_text(
        "extends: tiny-faq\nname: leaky\n"
        "regeneration: {source: original, candidates: 1, sampling: null}\n"
        "competition: {selection: random, experts: null}\ncalibration: {template: raw, tokens: 256}\n"
    )
    for cache in ("made", "hit "):  # an artifact that broke a contract is not passed on for being there
        done = faq(data, "run", "--member", "tiny-s", "--recipe", "leaky")
        assert f"  {cache} calibration_set" in done.err
        assert done.mistake.startswith("check contamination of calibration_set failed: ")
        assert "~ tiny_sums/3 (exact): what is 3" in done.mistake
        stages = {a.manifest.stage for a in Store(tmp_path / "home/store").artifacts()}
        assert "calibration_set" in stages
        assert not stages & {"quantized_checkpoint", "eval_report", "recipe_comparison"}
