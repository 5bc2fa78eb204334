"""Sensitivity of the target's predictions on a candidate to rounded weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.competition.expert import Context, Group, Need
from faq_pipeline.quantization.spec_check import check_spec


@dataclass(frozen=True)
class Sensitivity:
    """Mean over the candidate's tokens of KL(target || rounded copy), in nats.

    The copy's weights are rounded to nearest by the recipe's scheme and group size; activations are
    not rounded. High where quantization hurts, so that calibration looks there. Ours, after the
    usual measure of a quantized model's divergence. Every token of the sample counts, prompt too.
    Abstains on candidates longer than the target's context.

    Of a mixture the routed experts stay as they are: they are fused in memory, and only the layers beside
    them are rounded. A note says so.
    """

    name: str = "sensitivity"
    needs: tuple[Need, ...] = ("activations", "scheme")

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """All candidates in one pass through both models.

        Raises:
            FaqError: the recipe's quantization does not fit the target, see `check_spec`.
        """
        return divergences(self.name, groups, context)


def divergences(name: str, groups: Sequence[Group], context: Context) -> list[float | None]:
    """The figure of `Sensitivity` for each candidate, group after group, in nats; None where it abstains.

    However many experts read it, the candidates go through both models once.

    Args:
        name: the expert that asks, for a note to the user.

    Raises:
        FaqError: the recipe's quantization does not fit the target, see `check_spec`.
    """
    return context.measured_once("divergence", groups, lambda: _measured(name, groups, context))


def _measured(name: str, groups: Sequence[Group], context: Context) -> list[float | None]:
    from faq_pipeline.models.divergence import mean_divergences
    from faq_pipeline.models.fused_experts import fused_experts
    from faq_pipeline.quantization.rounding import rounded_copy

    spec = context.cell.recipe.quantization
    check_spec(spec, context.cell.target)

    scores: list[float | None] = [None for group in groups for _ in group.candidates]
    samples = context.samples(groups)
    if not samples:
        return scores
    context.progress.start("candidates through the target and its rounded copy", len(samples))
    if fused_experts(context.model):
        context.note(f"{name}: of a mixture only what is beside its experts is rounded")
    copy = rounded_copy(context.model, spec)
    values = mean_divergences(context.model, copy, list(samples), context.progress.advance)
    for places, value in zip(samples.values(), values, strict=True):
        for place in places:
            scores[place] = value
    return scores
