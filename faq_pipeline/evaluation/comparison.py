"""Compare all evaluated recipes of a member, paired by question."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from faq_pipeline.config.recipe import ORIGINAL, Recipe
from faq_pipeline.evaluation.bootstrap import IntervalEstimate
from faq_pipeline.evaluation.paired import Verdict, loss_difference, loss_reduction, verdict
from faq_pipeline.evaluation.stage import ANSWERS, REFERENCE_ANSWERS
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import Answer
from faq_pipeline.store.tables import read_rows
from faq_pipeline.util.pages import interval

Figure = dict[str, float]
Unfair = Mapping[tuple[str, str], str]

_INTERVALS = ("reference", "quantized", "recovery", "loss", "kl", "kl_prose")
_FIGURES = ("questions", *_INTERVALS, "mcnemar_p", "noise_floor")
TOLERANCE = 0.02
"""Compared calibration sets may differ in their number of tokens by this share."""
_ORDER: tuple[Verdict, ...] = ("worse", "inconclusive", "better")


@dataclass(frozen=True)
class Comparison:
    """One row per recipe, smallest loss first. Recipes with different questions than most come last.

    Each row holds `recipe`, the report's figures and `comparable`. For recipes with baselines it also
    holds `against` (per baseline: `loss_reduction`, or null with its `reason`; `difference` in loss;
    `verdict`), the headline `loss_reduction` with its `reason` and its `verdict`, both of the least
    favourable baseline, and a `remark` if the headline does not cover both originals.
    """

    recipes: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """As JSON-serializable data."""
        return {"recipes": self.recipes}

    def markdown(self) -> str:
        """A Markdown table, with notes below it."""
        lines = [
            "| recipe | quantized, % | recovery | loss, points | KL on tasks, 1e-3 | KL on prose, 1e-3 |"
            " loss reduction | verdict |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in self.recipes:
            cells = [
                row["recipe"],
                interval(row["quantized"], 1, 100),
                interval(row["recovery"]),
                interval(row["loss"], 1, 100),
                interval(row["kl"], 2, 1000),
                interval(row["kl_prose"], 2, 1000),
                interval(row["loss_reduction"], 2) if row["loss_reduction"] else row["reason"],
                (row["verdict"] or "") if row["comparable"] else "not comparable: other questions",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        for row in self.recipes:
            lines += [""] * bool(row["against"]) + [_against(row["recipe"], one) for one in row["against"]]
            lines += [f"- {row['recipe']}: {row['remark']}"] if row["remark"] else []
        return "\n".join(lines) + "\n"

    _repr_markdown_ = markdown
    """For notebooks."""


@dataclass(frozen=True)
class _Report:
    reference: list[Answer]
    answers: list[Answer]
    metadata: Mapping[str, Any]

    @property
    def questions(self) -> frozenset[tuple[str, ...]]:
        return frozenset((a.task, a.doc_hash, a.filter, a.prompt_hash) for a in self.answers)


def compare(
    reports: Mapping[str, Artifact],
    baselines: Mapping[str, Iterable[str]],
    unfair: Unfair | None = None,
    remarks: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare the reports of a member.

    A recipe is compared only with baselines that answered the same questions.

    Args:
        reports: the member's `eval_report` artifacts, by recipe.
        baselines: recipes with the original data, by recipe.
        unfair: pairs (recipe, baseline) that must not be compared, each with its reason; see
            `unfair_baselines`.
        remarks: remarks by recipe; see `one_original`.
    """
    read = {name: _read(artifact) for name, artifact in reports.items()}
    common = _most_common([report.questions for report in read.values()])
    rows: list[dict[str, Any]] = []
    for name, report in read.items():
        against = [_compare_with(name, base, read, unfair or {}) for base in baselines.get(name, ())]
        figures = {key: report.metadata.get(key) for key in _FIGURES}
        row: dict[str, Any] = {"recipe": name, "comparable": report.questions == common, **figures}
        remark = (remarks or {}).get(name, "")
        rows.append(row | {"against": against, **_headline(against), "remark": remark})
    rows.sort(key=lambda row: (not row["comparable"], _size(row["loss"]), _size(row["kl"]), row["recipe"]))
    return Comparison(rows)


def unfair_baselines(
    recipes: Mapping[str, Recipe], tokens: Mapping[str, int | None]
) -> dict[tuple[str, str], str]:
    """Pairs (recipe, baseline) that differ in more than the source of the calibration data, with the reason.

    Args:
        tokens: the actual number of tokens of each recipe's calibration set, which may be below its
            budget; None if it is unknown or the method uses no data.
    """
    found = {}
    for (name, recipe), (base, other) in permutations(recipes.items(), 2):
        if base in recipe.baselines and (reason := _unfair(recipe, other, tokens[name], tokens[base])):
            found[name, base] = reason
    return found


def one_original(baselines: Iterable[Recipe]) -> str:
    """The remark on a headline whose baselines have the original data in one form only; empty otherwise.

    The two forms are raw text and the chat template.
    """
    found = {b.calibration.template for b in baselines if b.regeneration.source == ORIGINAL}
    if not found or len(found) == 2:
        return ""
    have, lack = ("raw", "in the chat template") if "raw" in found else ("in the chat template", "raw")
    return f"compared with the original data {have} alone: add a baseline that has it {lack}"


def _unfair(recipe: Recipe, baseline: Recipe, held: int | None, its: int | None) -> str:
    if (recipe.seeds, recipe.draw) != (baseline.seeds, baseline.draw):
        return "another seed set"
    if held is not None and its is not None and abs(held - its) > TOLERANCE * max(held, its):
        return f"the calibration sets hold {held:,} and {its:,} tokens"
    return "another quantization" if recipe.quantization != baseline.quantization else ""


def _read(artifact: Artifact) -> _Report:
    reference = read_rows(artifact.file(REFERENCE_ANSWERS), Answer)
    return _Report(reference, read_rows(artifact.file(ANSWERS), Answer), artifact.metadata)


def _size(figure: Figure | None) -> float:
    """For an order of figures in which those that were not measured come last."""
    return math.inf if figure is None else figure["value"]


def _most_common(sets: Sequence[frozenset[tuple[str, ...]]]) -> frozenset[tuple[str, ...]]:
    """The question set that most reports have; among equally frequent sets, the largest."""
    return max(sets, key=lambda s: (sets.count(s), len(s)), default=frozenset())


def _compare_with(name: str, base: str, reports: Mapping[str, _Report], unfair: Unfair) -> dict[str, Any]:
    """Compare a recipe with one baseline."""
    row: dict[str, Any] = {"baseline": base, "loss_reduction": None, "difference": None, "verdict": None}
    recipe, baseline = reports[name], reports.get(base)
    if baseline is None:
        return row | {"reason": "the baseline is not evaluated yet"}
    if (name, base) in unfair:
        return row | {"reason": unfair[name, base]}
    if not recipe.answers or not baseline.answers:
        return row | {"reason": "no question was asked"}
    if baseline.questions != recipe.questions:
        return row | {"reason": "other questions"}
    reduction = loss_reduction(recipe.reference, recipe.answers, baseline.answers)
    difference = loss_difference(recipe.answers, baseline.answers)
    return row | {
        "loss_reduction": reduction.estimate and reduction.estimate.as_dict(),
        "reason": reduction.reason,
        "difference": difference.as_dict(),
        "verdict": verdict(IntervalEstimate(-difference.value, -difference.high, -difference.low)),
    }


def least_favourable(against: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The baseline, among those compared, with the least favourable verdict; of equals, the smallest gain.

    A verdict and a figure that are told together must be of one baseline: the interval of another may
    contradict the verdict.

    Args:
        against: see `Comparison`.
    """
    compared = [one for one in against if one["verdict"] is not None]
    # A positive difference is a larger loss.
    return min(
        compared,
        key=lambda one: (_ORDER.index(one["verdict"]), -one["difference"]["value"]),
        default=None,
    )


def _headline(against: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Verdict and loss reduction of the least favourable baseline; no figure if any baseline has none."""
    least = least_favourable(against)
    lowest = None if least is None else least["verdict"]
    for one in against:
        if one["loss_reduction"] is None:
            reason = f"{one['baseline']}: {one['reason']}"
            return {"loss_reduction": None, "reason": reason, "verdict": lowest}
    return {"loss_reduction": least and least["loss_reduction"], "reason": "", "verdict": lowest}


def _against(recipe: str, one: Mapping[str, Any]) -> str:
    if one["difference"] is None:
        return f"- {recipe} against {one['baseline']}: {one['reason']}"
    formed = one["loss_reduction"] is not None
    reduction = interval(one["loss_reduction"], 2) if formed else f"not computed, {one['reason']}"
    points = interval(one["difference"], 1, 100)
    return (
        f"- {recipe} against {one['baseline']}: loss {points} points,"
        f" loss reduction {reduction}; {one['verdict']}"
    )
