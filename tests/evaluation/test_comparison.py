from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.recipe import Recipe
from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.bootstrap import IntervalEstimate
from faq_pipeline.evaluation.comparison import compare, one_original, unfair_baselines
from faq_pipeline.evaluation.figures import report_figures
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import Answer
from faq_pipeline.store.store import Key, Store
from faq_pipeline.store.tables import write_rows
from tests.evaluation.answers import answers

N = 400
REFERENCE = [1] * 360 + [0] * 40
BASELINES = {"faq": ["raw", "chat"]}


@pytest.fixture
def report_of(tmp_path: Path) -> Any:
    """Makes the eval report of a model with these scores, beside a reference that answers everything."""
    store = Store(tmp_path)

    def make(
        name: str, scores: Sequence[int], *, beside: Sequence[int] = (1,) * N, task: str = "sums"
    ) -> Artifact:
        reference, quantized = answers(beside, task=task), answers(scores, task=task)

        def build(folder: Path) -> dict[str, Any]:
            _write(folder, reference, quantized)
            return report_figures(reference, quantized, IntervalEstimate(0.01, 0.009, 0.011), None, None)

        key = Key("eval_report", 1, name.ljust(20, "0"), {"name": name}, {}, {})
        return store.produce(key, build)[0]

    return make


@pytest.fixture
def report(report_of: Any) -> Any:
    """Makes the eval report of a model with `lost` fewer right answers."""

    def make(name: str, lost: int, *, task: str = "sums", asked: int = N) -> Artifact:
        beside = REFERENCE[:asked]
        made: Artifact = report_of(name, [0] * lost + beside[lost:], beside=beside, task=task)
        return made

    return make


def _write(folder: Path, reference: Sequence[Answer], quantized: Sequence[Answer]) -> None:
    write_rows(folder / "reference_answers.parquet", reference, Answer)
    write_rows(folder / "answers.parquet", quantized, Answer)


def _row(found: Any, recipe: str) -> dict[str, Any]:
    return next(row for row in found.as_dict()["recipes"] if row["recipe"] == recipe)


def test_the_headline_is_the_smaller_loss_reduction(report: Any) -> None:
    reports = {"raw": report("raw", 80), "chat": report("chat", 40), "faq": report("faq", 10)}
    found = compare(reports, BASELINES)
    assert [row["recipe"] for row in found.as_dict()["recipes"]] == ["faq", "chat", "raw"]
    row = _row(found, "faq")
    assert [one["loss_reduction"]["value"] for one in row["against"]] == pytest.approx([7 / 8, 3 / 4])
    assert row["loss_reduction"]["value"] == pytest.approx(3 / 4)
    assert row["loss_reduction"]["low"] < 3 / 4 < row["loss_reduction"]["high"]
    assert row["against"][1]["difference"]["value"] == pytest.approx(-30 / N)
    assert (row["verdict"], row["reason"]) == ("better", "")
    assert _row(found, "raw")["verdict"] is None and _row(found, "raw")["loss_reduction"] is None
    json.dumps(found.as_dict())


def test_the_verdict_is_the_least_favourable(report: Any) -> None:
    reports = {"raw": report("raw", 80), "chat": report("chat", 11), "faq": report("faq", 10)}
    row = _row(compare(reports, BASELINES), "faq")
    assert [one["verdict"] for one in row["against"]] == ["better", "inconclusive"]
    assert row["verdict"] == "inconclusive"


def noisy(name: str, won: int, lost: int, make: Any) -> Artifact:
    """The report of a baseline that answers some questions better than `faq` and more of them worse."""
    score = [0] * 40 + [1] * (N - 40)  # what `faq` answers, of questions that the reference all answers
    return make(name, [1] * won + score[won : N - lost] + [0] * lost)


def test_the_headline_and_its_verdict_are_of_one_baseline(report_of: Any) -> None:
    """The larger gain is the uncertain one: its figure stands beside its verdict."""
    reports = {
        "raw": noisy("raw", 30, 42, report_of),
        "chat": noisy("chat", 0, 8, report_of),
        "faq": noisy("faq", 0, 0, report_of),
    }
    row = _row(compare(reports, BASELINES), "faq")
    raw, chat = row["against"]
    assert (raw["verdict"], chat["verdict"]) == ("inconclusive", "better")
    assert raw["difference"]["value"] < chat["difference"]["value"] < 0
    assert (row["verdict"], row["loss_reduction"]) == ("inconclusive", raw["loss_reduction"])
    assert row["loss_reduction"]["low"] < 0 < row["loss_reduction"]["high"]


def test_a_loss_within_the_noise_floor_forms_no_reduction(report: Any) -> None:
    reports = {"raw": report("raw", 80), "chat": report("chat", 1), "faq": report("faq", 0)}
    row = _row(compare(reports, BASELINES), "faq")
    assert row["loss_reduction"] is None
    assert row["reason"].startswith("chat: the baseline's loss") and "noise floor" in row["reason"]


def test_other_questions_are_listed_and_not_compared(report: Any) -> None:
    reports = {
        "raw": report("raw", 80),
        "self": report("self", 20),
        "chat": report("chat", 40, asked=300),
        "faq": report("faq", 10),
    }
    found = compare(reports, BASELINES)
    assert [row["recipe"] for row in found.recipes if not row["comparable"]] == ["chat"]
    row = _row(found, "faq")
    assert row["against"][0]["verdict"] == "better"
    assert (row["against"][1]["reason"], row["loss_reduction"]) == ("other questions", None)
    assert "not comparable" in found.markdown().splitlines()[2 + 3]


def test_a_baseline_that_is_missing_or_unfair_says_so(report: Any) -> None:
    reports = {"chat": report("chat", 40), "faq": report("faq", 10)}
    found = compare(reports, BASELINES, {("faq", "chat"): "another seed set"})
    row = _row(found, "faq")
    assert [one["reason"] for one in row["against"]] == [
        "the baseline is not evaluated yet",
        "another seed set",
    ]
    assert row["verdict"] is None
    assert "another seed set" in found.markdown()


def test_no_reports_compare_to_nothing() -> None:
    assert compare({}, {}).as_dict() == {"recipes": []}


def test_the_table_reads_in_points(report: Any) -> None:
    text = compare(
        {"raw": report("raw", 80), "chat": report("chat", 40), "faq": report("faq", 10)}, BASELINES
    )
    assert "| KL on tasks, 1e-3 | KL on prose, 1e-3 |" in text.markdown().splitlines()[0]
    line = next(line for line in text.markdown().splitlines() if line.startswith("| faq"))
    assert (
        "87.5 [" in line and "2.5 [" in line and "10.00 [" in line and "0.75 [" in line and "better" in line
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"draw": 1}, "another seed set"),
        ({"seeds": {"count": 9}}, "another seed set"),
        ({"quantization": {"scheme": "W8A16"}}, "another quantization"),
        ({"calibration": {"template": "raw"}}, None),
    ],
)
def test_baselines_differ_in_the_source_of_calibration_data_alone(
    tiny_cell: Cell, changes: dict[str, Any], reason: str | None
) -> None:
    faq = tiny_cell.recipe.model_copy(update={"baselines": ["raw"]})
    updates = {
        key: getattr(faq, key).model_copy(update=value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    raw: Recipe = tiny_cell.recipe.model_copy(update={"name": "raw", **updates})
    found = unfair_baselines({"faq": faq, "raw": raw}, {"faq": 500, "raw": 500})
    assert found == ({} if reason is None else {("faq", "raw"): reason})


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ((5000, 5000), None),
        ((5000, 4900), None),
        ((4900, 5000), None),
        ((5000, 4899), "the calibration sets hold 5,000 and 4,899 tokens"),
        ((3018, 5000), "the calibration sets hold 3,018 and 5,000 tokens"),
        ((5000, None), None),
    ],
)
def test_calibration_sets_of_other_sizes_are_not_compared(
    tiny_cell: Cell, held: tuple[int, int | None], reason: str | None
) -> None:
    """Budgets are equal, what the sets really hold need not be; and the other way round."""
    faq = tiny_cell.recipe.model_copy(update={"baselines": ["raw"]})
    calibration = faq.calibration.model_copy(update={"tokens": 2 * faq.calibration.tokens})
    for raw in (faq, faq.model_copy(update={"calibration": calibration})):
        found = unfair_baselines({"faq": faq, "raw": raw}, dict(zip(("faq", "raw"), held, strict=True)))
        assert found == ({} if reason is None else {("faq", "raw"): reason})


def test_a_headline_beside_one_original_alone_says_so(tiny_cell: Cell, report: Any) -> None:
    def original(template: str) -> Recipe:
        calibration = tiny_cell.recipe.calibration.model_copy(update={"template": template})
        source = tiny_cell.recipe.regeneration.model_copy(update={"source": "original"})
        return tiny_cell.recipe.model_copy(update={"calibration": calibration, "regeneration": source})

    raw, chat = original("raw"), original("chat")
    assert one_original([raw, chat]) == one_original([]) == one_original([tiny_cell.recipe]) == ""
    remark = one_original([raw])
    assert "original data raw alone" in remark and "add a baseline that has it in the chat" in remark
    assert "in the chat template alone" in one_original([chat, tiny_cell.recipe])
    reports = {"raw": report("raw", 80), "faq": report("faq", 10)}
    found = compare(reports, {"faq": ["raw"]}, remarks={"faq": remark})
    assert _row(found, "faq")["remark"] == remark and _row(found, "raw")["remark"] == ""
    assert f"- faq: {remark}" in found.markdown()
