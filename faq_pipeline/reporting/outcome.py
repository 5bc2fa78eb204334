"""What regeneration gained over the better of the two originals, or that it cannot be told: one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faq_pipeline.config.recipe import ORIGINAL, Recipe
from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.bootstrap import IntervalEstimate, bootstrap_estimate
from faq_pipeline.evaluation.stage import SEQUENCES
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.recipe_comparison import compare_member, read_comparison
from faq_pipeline.execution.runner import plan
from faq_pipeline.quantization.methods import needs_calibration
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import SequenceDivergence
from faq_pipeline.store.tables import read_rows

TRACES, PROSE = "traces", "prose"
ONE_DRAW = "This is one random draw; another gives another figure"


def outcome(settings: Settings, cells: Sequence[Cell], *, evaluated: bool) -> str:
    """The sentence.

    Args:
        cells: the baselines first.
    """
    recipe = cells[-1].recipe
    if not recipe.regeneration.generates:
        if needs_calibration(recipe.quantization):
            what = "the seeds as they are" if recipe.regeneration.source == ORIGINAL else "random tokens"
            return f"Nothing was regenerated: the recipe calibrates on {what}."
        return "Nothing was regenerated: the method looks at no data."
    if not evaluated:
        return "What regeneration gained cannot be told: nothing was evaluated (--no-eval)."
    if not recipe.baselines:
        return (
            "What regeneration gained cannot be told: the seeds as they are were not tried (--no-baselines)."
        )
    here = {cell.recipe.name for cell in cells}
    if gone := [name for name in recipe.baselines if name not in here]:
        return f"What regeneration gained cannot be told: baseline {gone[0]} is not here any more."
    if recipe.evaluation.tasks:
        return _by_accuracy(settings, cells[-1])
    return _by_divergence(settings, cells)


def _by_accuracy(settings: Settings, cell: Cell) -> str:
    from faq_pipeline.evaluation.comparison import least_favourable

    compared = compare_member(settings, cell.target.partition).artifact
    rows = read_comparison(settings.store, compared.fingerprint)["recipes"]
    row = next(row for row in rows if row["recipe"] == cell.recipe.name)
    least = least_favourable(row["against"])
    if least is None or any(one["difference"] is None for one in row["against"]):
        return f"What regeneration gained cannot be told: {row['reason']}."
    # A positive difference is a larger loss.
    value, low, high = (0.0 - 100 * least["difference"][name] for name in ("value", "high", "low"))
    figure = f"{value:+.1f} points of accuracy [{low:.1f}, {high:.1f}]"
    if least["verdict"] == "inconclusive":
        return (
            f"Whether regeneration gained accuracy cannot be told from {row['questions']} questions: {figure}"
            " against the seeds as they are."
        )
    verb = "gained" if least["verdict"] == "better" else "cost"
    return f"Regeneration {verb} accuracy: {figure} against the better of the seeds as they are. {ONE_DRAW}."


def _by_divergence(settings: Settings, cells: Sequence[Cell]) -> str:
    *originals, cell = cells
    for one in originals:
        if _report(settings, one) is None:
            return f"What regeneration gained cannot be told: {one.recipe.name} is not evaluated yet."
    if reason := _unequal(settings, cells):
        return f"What regeneration gained cannot be told: {reason}."
    own = _report(settings, cell)
    assert own is not None
    others = [_report(settings, one) for one in originals]
    replies, prose = (
        min((divergence_change(own, other, scope) for other in others if other), key=_favour)
        for scope in (TRACES, PROSE)
    )
    change = f"{described_change(replies)} on tasks and {described_change(prose)} on prose"
    what, against = "the divergence (KL) from the unquantized model", "the seeds as they are"
    if replies.low <= 0 <= replies.high:
        return f"Whether regeneration helped cannot be told: {what} is {change}, against {against}."
    return f"Against the better of {against}, regeneration made {what} {change}. {ONE_DRAW}."


def _favour(change: IntervalEstimate) -> tuple[int, float]:
    """Orders reductions as `least_favourable` does: higher, not clear, lower; of equals by value."""
    return (change.low > 0) - (change.high < 0), change.value


def divergence_change(own: Artifact, other: Artifact, scope: str = TRACES) -> IntervalEstimate:
    """1 - KL(own) / KL(other) on one scope, paired by sequence, with its 95% interval."""
    pairs = [_nats(own, scope), _nats(other, scope)]
    return bootstrap_estimate(np.array(pairs, dtype=np.float64).T, lambda m: 1 - m[:, 0] / m[:, 1])


def described_change(reduction: IntervalEstimate) -> str:
    """A reduction in words and as a change: `lower (-21% [-35, -6])`.

    No bound beyond 0.001% that is not 0 is shown as 0: digits are added.
    """
    value, low, high = (0.0 - 100 * bound for bound in (reduction.value, reduction.high, reduction.low))
    word = "lower" if high < 0 else "higher" if low > 0 else "not clearly different"
    digits = 0
    while digits < 3 and any(bound != 0 and round(bound, digits) == 0 for bound in (low, high)):
        digits += 1
    return f"{word} ({value:+.{digits}f}% [{low:.{digits}f}, {high:.{digits}f}])"


def _nats(report: Artifact, scope: str) -> list[float]:
    rows = read_rows(report.file(SEQUENCES), SequenceDivergence)
    return [row.nats for row in sorted(rows, key=lambda row: row.sequence) if row.scope == scope]


def _report(settings: Settings, cell: Cell) -> Artifact | None:
    return plan(cell, STAGES, settings.store)[stage_names.EVAL_REPORT].artifact


def _unequal(settings: Settings, cells: Sequence[Cell]) -> str:
    """Why the calibration sets cannot be compared; empty where they can."""
    from faq_pipeline.evaluation.comparison import unfair_baselines

    recipes: dict[str, Recipe] = {cell.recipe.name: cell.recipe for cell in cells}
    sizes: dict[str, int | None] = {}
    for cell in cells:
        held = plan(cell, STAGES, settings.store)[stage_names.CALIBRATION_SET].artifact
        sizes[cell.recipe.name] = None if held is None else int(held.metadata["tokens"])
    return next(iter(unfair_baselines(recipes, sizes).values()), "")
