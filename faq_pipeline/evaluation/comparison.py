"""All evaluated recipes of a member beside each other, paired by question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from faq_pipeline.config.recipe import ORIGINAL, Recipe
from faq_pipeline.evaluation.bootstrap import IntervalEstimate
from faq_pipeline.evaluation.paired import Verdict, loss_difference, loss_reduction, verdict
from faq_pipeline.evaluation.report import interval
from faq_pipeline.evaluation.stage import ANSWERS, REFERENCE_ANSWERS
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.tables import Answer, read_rows

Figure = dict[str, float]
Unfair = Mapping[tuple[str, str], str]

_INTERVALS = ("reference", "quantized", "recovery", "loss", "kl", "kl_prose")
_FIGURES = ("questions", *_INTERVALS, "mcnemar_p", "noise_floor")
TOLERANCE = 0.02
"""Share by which calibration sets that are compared may differ in tokens."""
_ORDER: tuple[Verdict, ...] = ("worse", "inconclusive", "better")


@dataclass(frozen=True)
class Comparison:
    """One row a recipe, best loss first; those over other questions than most stand last.

    Each row holds `recipe`, the report's figures, `comparable`, and, for recipes with baselines,
    `against` (per baseline: `loss_reduction` or null with its `reason`, `difference` in loss and
    `verdict`), the headline `loss_reduction` with its `reason`, the least favourable `verdict`, and a
    `remark` where the headline does not stand for both originals.
    """

    recipes: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"recipes": self.recipes}

    def markdown(self) -> str:
        """A table for people."""
        lines = [
            "| recipe | quantized, % | recovery | loss, points | KL, 1e-3 | KL prose, 1e-3 | loss reduction |"
            " verdict |",
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
    """Compare a member's reports.

    Args:
        reports: its `eval_report` artifacts, by recipe.
        baselines: recipes with the original data, by recipe.
        unfair: pairs (recipe, baseline) that must not be compared, each with its reason, as
            `unfair_baselines` finds them.
        remarks: by recipe, as `one_original` makes them.

    Recipes are paired with baselines over the same questions only.
    """
    read = {name: _read(artifact) for name, artifact in reports.items()}
    common = _most_common([report.questions for report in read.values()])
    rows: list[dict[str, Any]] = []
    for name, report in read.items():
        against = [_beside(name, base, read, unfair or {}) for base in baselines.get(name, ())]
        figures = {key: report.metadata.get(key) for key in _FIGURES}
        row: dict[str, Any] = {"recipe": name, "comparable": report.questions == common, **figures}
        remark = (remarks or {}).get(name, "")
        rows.append(row | {"against": against, **_headline(against), "remark": remark})
    rows.sort(key=lambda row: (not row["comparable"], row["loss"]["value"], row["recipe"]))
    return Comparison(rows)


def unfair_baselines(
    recipes: Mapping[str, Recipe], tokens: Mapping[str, int | None]
) -> dict[tuple[str, str], str]:
    """Pairs (recipe, baseline) that differ in more than the calibration data's source, with the reason.

    Args:
        tokens: what each recipe's calibration set really holds, which may be less than its budget;
            None where that is not known or the method looks at no data.
    """
    found = {}
    for (name, recipe), (base, other) in permutations(recipes.items(), 2):
        if base in recipe.baselines and (reason := _unfair(recipe, other, tokens[name], tokens[base])):
            found[name, base] = reason
    return found


def one_original(baselines: Iterable[Recipe]) -> str:
    """What to say of a headline over baselines that lack the original data raw or in the template."""
    found = {b.calibration.template for b in baselines if b.regeneration.source == ORIGINAL}
    if not found or len(found) == 2:
        return ""
    have, lack = ("raw", "in the chat template") if "raw" in found else ("in the chat template", "raw")
    return f"measured beside the original data {have} alone: add a baseline that has it {lack}"


def _unfair(recipe: Recipe, baseline: Recipe, held: int | None, its: int | None) -> str:
    if (recipe.seeds, recipe.draw) != (baseline.seeds, baseline.draw):
        return "another seed set"
    if held is not None and its is not None and abs(held - its) > TOLERANCE * max(held, its):
        return f"the calibration sets hold {held:,} and {its:,} tokens"
    return "another quantization" if recipe.quantization != baseline.quantization else ""


def _read(artifact: Artifact) -> _Report:
    reference = read_rows(artifact.file(REFERENCE_ANSWERS), Answer)
    return _Report(reference, read_rows(artifact.file(ANSWERS), Answer), artifact.metadata)


def _most_common(sets: Sequence[frozenset[tuple[str, ...]]]) -> frozenset[tuple[str, ...]]:
    """The questions of most reports; of as many, the larger set."""
    return max(sets, key=lambda s: (sets.count(s), len(s)), default=frozenset())


def _beside(name: str, base: str, reports: Mapping[str, _Report], unfair: Unfair) -> dict[str, Any]:
    """A recipe against one baseline."""
    row: dict[str, Any] = {"baseline": base, "loss_reduction": None, "difference": None, "verdict": None}
    recipe, baseline = reports[name], reports.get(base)
    if baseline is None:
        return row | {"reason": "the baseline is not evaluated yet"}
    if (name, base) in unfair:
        return row | {"reason": unfair[name, base]}
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


def _headline(against: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The smaller of the loss reductions, formed where all are; the least favourable verdict."""
    verdicts = [one["verdict"] for one in against if one["verdict"] is not None]
    lowest = min(verdicts, key=_ORDER.index, default=None)
    for one in against:
        if one["loss_reduction"] is None:
            reason = f"{one['baseline']}: {one['reason']}"
            return {"loss_reduction": None, "reason": reason, "verdict": lowest}
    reductions = [one["loss_reduction"] for one in against]
    smallest = min(reductions, key=lambda figure: figure["value"], default=None)
    return {"loss_reduction": smallest, "reason": "", "verdict": lowest}


def _against(recipe: str, one: Mapping[str, Any]) -> str:
    if one["difference"] is None:
        return f"- {recipe} against {one['baseline']}: {one['reason']}"
    formed = one["loss_reduction"] is not None
    reduction = interval(one["loss_reduction"], 2) if formed else f"not formed, {one['reason']}"
    points = interval(one["difference"], 1, 100)
    return (
        f"- {recipe} against {one['baseline']}: loss {points} points,"
        f" loss reduction {reduction}; {one['verdict']}"
    )
