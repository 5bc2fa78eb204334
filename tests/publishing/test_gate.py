"""The gate: each criterion met and not met, in words; and the numbers around its threshold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.config.operation import Publish
from faq_pipeline.config.recipe import Gate
from faq_pipeline.core.cell import Cell
from faq_pipeline.publishing.gate import Criterion, apart, judge_publication
from faq_pipeline.reporting.finished import FinishedCell
from faq_pipeline.store.artifact import MANIFEST, Artifact
from faq_pipeline.store.records import Sample, Seed
from faq_pipeline.store.tables import write_rows

SEED = Seed("s0", "How many harvests?", "question", None, "sums", "tests", "Apache-2.0")
SAMPLE = Sample("a0", "c0", "s0", "sums", 0, 0, 9, "The river town had a harvest.")
SOUND = {
    "loads": True,
    "load_error": "",
    "bytes": 10,
    "original_bytes": 40,
    "nan_tensors": [],
    "missing_tensors": [],
    "unquantized_linear_layers": ["lm_head"],
}


def made(folder: Path, stage: str, metadata: dict[str, Any], inputs: tuple[str, ...] = ()) -> Artifact:
    """An artifact of which the gate reads metadata, inputs and rows alone."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {name: f"{name:_<20}" for name in inputs}
    manifest = {
        "stage": stage,
        "stage_version": 1,
        "fingerprint": "f" * 20,
        "digest": "d" * 20,
        "identity": {},
        "inputs": keys,
        "upstream": keys,
        "files": [],
        "metadata": metadata,
        "created": "",
        "seconds": 0,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Artifact(folder)


def finished(
    cell: Cell,
    folder: Path,
    *,
    licences: tuple[str, ...] = ("apache-2.0",),
    gate: float | None = 0.9,
    recovery: dict[str, float] | None = None,
    seeds: tuple[Seed, ...] = (SEED,),
    samples: tuple[Sample, ...] = (SAMPLE,),
    inspection: dict[str, Any] | None = None,
    fallback: tuple[str, ...] = (),
    calibrated: bool = True,
) -> FinishedCell:
    """A cell that passes, but for what is said."""
    publish = Publish(licences=list(licences)) if licences else None
    evaluation = cell.recipe.evaluation.model_copy(update={"gate": gate and Gate(recovery=gate)})
    cell = Cell(
        cell.family.model_copy(update={"publish": publish}),
        cell.recipe.model_copy(update={"evaluation": evaluation}),
        cell.target,
        cell.teacher,
        cell.device,
    )
    checkpoint = {"inspection": {**SOUND, **(inspection or {})}, "rtn_fallback": list(fallback)}
    report = {"recovery": {"value": 1.0, "low": 0.95, "high": 1.05, **(recovery or {})}}
    inputs = ("calibration_set",) if calibrated else ()
    artifacts = {
        "seed_data": made(folder / "seeds", "seed_data", {}),
        "calibration_set": made(folder / "set", "calibration_set", {}),
        "quantized_checkpoint": made(folder / "checkpoint", "quantized_checkpoint", checkpoint, inputs),
        "eval_report": made(folder / "report", "eval_report", report),
    }
    write_rows(artifacts["seed_data"].file("seeds.parquet"), seeds, Seed)
    write_rows(artifacts["calibration_set"].file("samples.parquet"), samples, Sample)
    return FinishedCell(cell, artifacts)


Ask = Callable[..., Criterion]


@pytest.fixture
def ask(tiny_cell: Cell, tmp_path: Path) -> Ask:
    """A criterion's finding; the other criteria pass."""

    def run(name: str, **changed: Any) -> Criterion:
        verdict = judge_publication(finished(tiny_cell, tmp_path, **changed))
        (criterion,) = [one for one in verdict.criteria if one.name == name]
        assert all(one.passed for one in verdict.criteria if one is not criterion)
        assert verdict.passed == criterion.passed == (verdict.reason == "")
        return criterion

    return run


def test_a_cell_that_meets_every_criterion_passes(tiny_cell: Cell, tmp_path: Path) -> None:
    verdict = judge_publication(finished(tiny_cell, tmp_path))
    assert verdict.passed and verdict.reason == ""
    assert [one.name for one in verdict.criteria] == ["recovery", "contamination", "licence", "soundness"]
    assert json.loads(json.dumps(verdict.as_dict()))["criteria"][0]["needed"]


# --- recovery ---


@given(
    gate=st.floats(0.01, 1),
    low=st.one_of(st.floats(0, 2), st.sampled_from([float("nan"), float("inf")])),
    nudge=st.sampled_from([None, 0.0, 1e-16, -1e-16, 1e-9, -1e-9, 4e-5, -4e-5]),
)
def test_the_lower_bound_reaches_the_gate_or_does_not(
    tiny_cell: Cell, tmp_path_factory: pytest.TempPathFactory, gate: float, low: float, nudge: float | None
) -> None:
    """Nothing is rounded before the comparison, and what is shown tells the same story."""
    if nudge is not None:
        low = gate + nudge
    folder = tmp_path_factory.getbasetemp() / "threshold"
    verdict = judge_publication(finished(tiny_cell, folder, gate=gate, recovery={"value": 1.0, "low": low}))
    criterion = verdict.criteria[0]
    assert criterion.passed == verdict.passed == (low >= gate)
    shown = float(criterion.found.partition("lower bound ")[2])
    assert (shown >= gate) == (low >= gate)


def test_the_lower_bound_and_not_the_value_is_compared(ask: Ask) -> None:
    failed = ask("recovery", gate=0.9, recovery={"value": 0.97, "low": 0.89999})
    assert not failed.passed and failed.found == "0.9700, lower bound 0.89999"
    assert failed.needed == "a lower bound of 0.9 or more"
    assert ask("recovery", gate=0.9, recovery={"value": 0.91, "low": 0.9}).passed
    assert apart(0.95, 0.9) == "0.9500"


def test_a_recipe_without_a_gate_cannot_be_published(ask: Ask, tiny_cell: Cell) -> None:
    failed = ask("recovery", gate=None)
    assert not failed.passed and f"{tiny_cell.recipe.name!r} has no gate" in str(failed)
    assert "evaluation: {gate: {recovery:" in failed.hint


def test_recovery_that_is_not_formed_does_not_pass(tiny_cell: Cell, tmp_path: Path) -> None:
    found = finished(tiny_cell, tmp_path)
    report = made(tmp_path / "report", "eval_report", {"recovery": None})
    verdict = judge_publication(FinishedCell(found.cell, {**found.artifacts, "eval_report": report}))
    assert not verdict.passed and "not computed: the reference answers no question" in verdict.reason


# --- contamination ---


def test_a_leak_is_named(ask: Ask) -> None:
    leaked = Sample(**{**SAMPLE.__dict__, "id": "a1", "text": "So: what is 3 + 3?! It is 6."})
    failed = ask("contamination", samples=(SAMPLE, leaked))
    assert not failed.passed and failed.found.startswith("1 leak among 2 samples and ")
    assert "a1 ~ tiny_sums/3 (exact)" in failed.found


def test_without_a_calibration_set_there_is_no_leak(ask: Ask) -> None:
    leaked = Sample(**{**SAMPLE.__dict__, "text": "So: what is 3 + 3?! It is 6."})
    passed = ask("contamination", samples=(leaked,), calibrated=False)
    assert passed.passed and passed.found == "there is no calibration set"


# --- licences ---


def seeds_under(*licences: str) -> tuple[Seed, ...]:
    return tuple(Seed(**{**SEED.__dict__, "id": f"s{i}", "licence": one}) for i, one in enumerate(licences))


@pytest.mark.parametrize(
    ("named", "seeds", "found"),
    [
        (("APACHE-2.0 ",), ("Apache-2.0",), "base Apache-2.0; teacher Apache-2.0; seeds Apache-2.0"),
        (("Apache-2.0", "ODC-BY"), ("ODC-BY", "odc-by", "ODC-BY"), "seeds ODC-BY (2), odc-by"),
        (("Apache-2.0", "unknown"), ("unknown",), "seeds unknown"),
    ],
)
def test_licences_that_are_named_pass(
    ask: Ask, named: tuple[str, ...], seeds: tuple[str, ...], found: str
) -> None:
    passed = ask("licence", licences=named, seeds=seeds_under(*seeds))
    assert passed.passed and passed.found.endswith(found)


@pytest.mark.parametrize(
    ("named", "seeds", "found"),
    [
        (("MIT",), ("MIT",), "base Apache-2.0; teacher Apache-2.0"),
        (("Apache-2.0",), ("unknown",), "seeds unknown"),
        (("Apache-2.0",), ("Apache-2.0", "CC-BY-NC-4.0", "CC-BY-NC-4.0"), "seeds CC-BY-NC-4.0 (2)"),
        (("Apache",), ("Apache-2.0",), "base Apache-2.0; teacher Apache-2.0; seeds Apache-2.0"),
    ],
)
def test_a_licence_that_is_not_named_is_told(
    ask: Ask, named: tuple[str, ...], seeds: tuple[str, ...], found: str
) -> None:
    failed = ask("licence", licences=named, seeds=seeds_under(*seeds))
    assert not failed.passed and failed.found == found and failed.needed == f"each one of {named[0]}"


@settings(max_examples=30)
@given(
    named=st.sets(st.sampled_from("abcd"), min_size=1), drawn=st.lists(st.sampled_from("ABCD"), min_size=1)
)
def test_every_licence_of_the_seeds_counts(
    tiny_cell: Cell, tmp_path_factory: pytest.TempPathFactory, named: set[str], drawn: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "licences"
    found = finished(tiny_cell, folder, licences=("Apache-2.0", *sorted(named)), seeds=seeds_under(*drawn))
    assert judge_publication(found).passed == ({one.lower() for one in drawn} <= named)


def test_a_checkpoint_without_a_calibration_set_holds_nothing_of_teacher_and_seeds(ask: Ask) -> None:
    passed = ask("licence", seeds=seeds_under("CC-BY-NC-4.0"), calibrated=False)
    assert passed.passed and passed.found == "base Apache-2.0"


def test_a_family_that_says_nothing_of_publishing_does_not_publish(ask: Ask) -> None:
    failed = ask("licence", licences=())
    assert not failed.passed and "publish: {licences: [...]}" in failed.hint


# --- soundness ---


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"inspection": {"loads": False, "load_error": "size mismatch"}}, "it does not load: size mismatch"),
        ({"inspection": {"nan_tensors": ["a.weight", "b"]}}, "2 tensors hold NaN (a.weight)"),
        ({"inspection": {"missing_tensors": ["a.weight"]}}, "1 tensors are missing (a.weight)"),
        (
            {"inspection": {"wrong_shapes": ["a.weight: 9, expected 10"]}},
            "1 tensors have a wrong shape (a.weight: 9, expected 10)",
        ),
        ({"inspection": {"bytes": 40}}, "it is no smaller than the original"),
        (
            {"inspection": {"unquantized_linear_layers": ["lm_head", "a.up_proj"]}},
            "1 tensors are not quantized (a.up_proj)",
        ),
        ({"fallback": ("a.up_proj",)}, "1 modules fell back to round-to-nearest (a.up_proj)"),
    ],
    ids=str,
)
def test_an_unsound_checkpoint(ask: Ask, changed: dict[str, Any], found: str) -> None:
    failed = ask("soundness", **changed)
    assert not failed.passed and failed.found == found


def test_several_failures_are_all_named(tiny_cell: Cell, tmp_path: Path) -> None:
    verdict = judge_publication(finished(tiny_cell, tmp_path, licences=("MIT",), gate=1, fallback=("a",)))
    for name in ("recovery: ", "licence: ", "soundness: "):
        assert name in verdict.reason
    assert "contamination" not in verdict.reason and "\n" not in verdict.reason
