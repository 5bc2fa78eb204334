"""The complete analysis of a study, computed from the results of its cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from faq_pipeline.config.study import Study
from faq_pipeline.study.analysis.cell_table import CellRow, cell_rows
from faq_pipeline.study.analysis.costs import DATA_STAGES, Cost
from faq_pipeline.study.analysis.crossed import Crossed, Figure
from faq_pipeline.study.analysis.fitness_correlation import Correlation, correlations
from faq_pipeline.study.analysis.headline import Headline, HeadlineCondition, choose, headline
from faq_pipeline.study.analysis.outcomes import Condition, ScoreKey, Scores, samples
from faq_pipeline.study.analysis.pairs import Compared, compare_pairs
from faq_pipeline.study.design.cells import Design
from faq_pipeline.study.execution.results import Result

OUTCOMES = {"loss": False, "kl": True, "kl_prose": True}
"""The outcomes by which arms are compared, and whether each is compared on a log scale."""


@dataclass(frozen=True)
class ArmUnderCondition:
    """The figures of an arm on one condition. KL figures are logarithms of nats per token.

    Attributes:
        short_replies: by draw, the share of replies less than half as long as the reference's.
    """

    key: ScoreKey
    accuracy: Figure | None
    loss: Figure | None
    kl: Figure | None
    kl_prose: Figure | None
    short_replies: tuple[float, ...]
    draws: int
    failed: int
    fitness: float | None
    calibration_tokens: float | None


@dataclass(frozen=True)
class ArmCost:
    """Sampled tokens, and seconds by stage of the calibration data: means over an arm's cells.

    Cells of unknown cost do not count; if there are no others, all figures are None.
    """

    arm: str
    sampled_tokens: float | None
    seconds: Mapping[str, float | None]

    @property
    def data_seconds(self) -> float | None:
        """Seconds of all stages that make the calibration data."""
        known = [seconds for seconds in self.seconds.values() if seconds is not None]
        return sum(known) if len(known) == len(self.seconds) else None


@dataclass(frozen=True)
class Analysis:
    """The results of a study.

    Attributes:
        chosen: each condition with the decision whether it is primary.
        everywhere: the headline over all conditions that answer questions.
        parts: the headline over the primary conditions of each quantizer and of each target.
    """

    design: Design
    rows: list[CellRow]
    machines: list[dict[str, Any]]
    chosen: list[HeadlineCondition]
    headline: Headline
    everywhere: Headline
    parts: dict[str, Headline]
    arms: list[ArmUnderCondition]
    pairs: list[Compared]
    fitness: list[Correlation]
    costs: dict[str, ArmCost]

    @property
    def counts(self) -> dict[str, int]:
        """The number of cells by status."""
        return dict(Counter(row.status for row in self.rows))


def analyse(design: Design, results: Mapping[str, Result], scores: list[Scores]) -> Analysis:
    """Analyse a study.

    Args:
        results: the results of all cells, by cell id.
        scores: the scores of the finished cells.

    Raises:
        FaqError: see `samples`.
    """
    study = design.study
    counted = [one for one in scores if not one.cell.pilot]
    outcomes = {name: Crossed(samples(counted, name), log=log) for name, log in OUTCOMES.items()}
    pilot = Crossed(samples([one for one in scores if one.cell.pilot], "loss"))
    conditions = list(
        dict.fromkeys(Condition(cell.member, cell.quantizer) for cell in design.cells if cell.pilot)
    )
    chosen = choose(study, pilot, conditions)
    everywhere = [HeadlineCondition(one.condition, one.original, one.loss, True) for one in chosen]
    rows = cell_rows(design, results, scores)
    return Analysis(
        design=design,
        rows=rows,
        machines=_machines(results, scores),
        chosen=chosen,
        headline=headline(study, outcomes["loss"], chosen),
        everywhere=headline(study, outcomes["loss"], everywhere),
        parts=_parts(study, outcomes["loss"], chosen),
        arms=_arms(design, rows, counted, outcomes),
        pairs=compare_pairs(study, outcomes),
        fitness=correlations(counted),
        costs=_costs(counted),
    )


def _arms(
    design: Design, rows: list[CellRow], scores: list[Scores], outcomes: Mapping[str, Crossed[ScoreKey]]
) -> list[ArmUnderCondition]:
    accuracy = Crossed(samples(scores, "accuracy"))
    keys = dict.fromkeys(ScoreKey(c.member, c.quantizer, c.arm) for c in design.cells if not c.pilot)
    failed = Counter(
        ScoreKey(row.member, row.quantizer, row.arm)
        for row in rows
        if row.status == "failed" and not row.pilot
    )
    found = []
    for key in keys:
        own = [one for one in scores if one.key == key]
        fitness = [one.fitness for one in own if one.fitness is not None]
        tokens = [one.calibration_tokens for one in own if one.calibration_tokens is not None]
        found.append(
            ArmUnderCondition(
                key=key,
                accuracy=_mean(accuracy, key),
                loss=_mean(outcomes["loss"], key),
                kl=_mean(outcomes["kl"], key),
                kl_prose=_mean(outcomes["kl_prose"], key),
                short_replies=tuple(one.short_replies for one in own if one.short_replies is not None),
                draws=len(own),
                failed=failed[key],
                fitness=mean(fitness) if fitness else None,
                calibration_tokens=mean(tokens) if tokens else None,
            )
        )
    return found


def _mean(crossed: Crossed[ScoreKey], key: ScoreKey) -> Figure | None:
    if key not in crossed.samples:
        return None
    return crossed.estimate([key], lambda means: means[key])


def _costs(scores: list[Scores]) -> dict[str, ArmCost]:
    by_arm: dict[str, list[Scores]] = {}
    for one in scores:
        by_arm.setdefault(one.cell.arm, []).append(one)
    return {arm: _arm_cost(arm, [one.cost for one in own]) for arm, own in by_arm.items()}


def _arm_cost(arm: str, costs: list[Cost]) -> ArmCost:
    known = [(cost.sampled_tokens, cost.seconds) for cost in costs if cost.sampled_tokens is not None]
    if not known:
        return ArmCost(arm, None, dict.fromkeys(DATA_STAGES))
    return ArmCost(
        arm,
        mean(tokens for tokens, _ in known),
        {stage: mean(seconds.get(stage, 0.0) for _, seconds in known) for stage in DATA_STAGES},
    )


def _machines(results: Mapping[str, Result], scores: list[Scores]) -> list[dict[str, Any]]:
    """The machines and software versions used, each with its number of finished cells."""
    found: list[dict[str, Any]] = []
    for one in scores:
        machine = dict(one.result.machine)
        known = next((m for m in found if m["machine"] == machine), None)
        if known is None:
            found.append({"machine": machine, "cells": 1})
        else:
            known["cells"] += 1
    return found


def _parts(
    study: Study, losses: Crossed[ScoreKey], chosen: Sequence[HeadlineCondition]
) -> dict[str, Headline]:
    names = dict.fromkeys(
        [*(one.condition.quantizer for one in chosen), *(one.condition.member for one in chosen)]
    )
    parts = {
        name: headline(study, losses, [one for one in chosen if name in one.condition]) for name in names
    }
    return {name: one for name, one in parts.items() if one.figure is not None}
