"""The ablation section of a study's report: what each part of a recipe contributes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from faq_pipeline.study.analysis.analysis import Analysis
from faq_pipeline.study.analysis.crossed import Figure
from faq_pipeline.study.analysis.outcomes import Condition
from faq_pipeline.study.analysis.pairs import Compared
from faq_pipeline.study.report.block import Block, p_value, points, reduction, seconds_of

FOREST = "forest.svg"


def ablation(analysis: Analysis) -> Iterator[Block]:
    """The tables of all pairs by accuracy and by KL, and the forest plot."""
    by_pair: dict[int, dict[str, Compared]] = {}
    for compared in analysis.pairs:
        by_pair.setdefault(id(compared.pair), {})[compared.outcome] = compared
    if not by_pair:
        return
    pairs = list(by_pair.values())
    yield Block(
        heading="What each part is worth",
        text=[
            "Each row compares two arms draw by draw, as the mean over targets and quantizers. `not shown`"
            " means that the interval includes zero: there may still be an effect smaller than the MDE. The"
            " last column is what a calibration set of the first arm costs more than one of the other.",
            "By accuracy: how many points less the first arm loses, over the cells that answer questions.",
        ],
        columns=["isolates", "comparison", "points gained", "MDE", "p", "in words", "costs more"],
        rows=[_accuracy_row(analysis, outcomes["loss"]) for outcomes in pairs],
    )
    yield Block(
        text=[
            "By KL: how much lower that of the first arm is, over all cells. KL on prose shows how far a"
            " checkpoint is specialised; it is not tested."
        ],
        columns=[
            "isolates",
            "comparison",
            "KL on tasks lower by, %",
            "MDE, %",
            "p",
            "in words",
            "on prose, %",
        ],
        rows=[_kl_row(analysis, outcomes["kl"], outcomes["kl_prose"]) for outcomes in pairs],
    )
    yield Block(
        text=["Means with their intervals. Small dots are single cells; grey bars extend to the MDE."],
        plot=FOREST,
    )
    yield from _cell_by_cell(analysis)


def _cell_by_cell(analysis: Analysis) -> Iterator[Block]:
    """The headline arm against both originals, for each target and quantizer."""
    study = analysis.design.study
    found: dict[tuple[str, str], dict[Condition, Figure]] = {}
    for compared in analysis.pairs:
        if compared.pair.arm == study.headline and compared.pair.than in study.originals.both:
            # Pairs of the same arms may be restricted to different quantizers or members.
            found.setdefault((compared.pair.than, compared.outcome), {}).update(compared.conditions)
    if not found:
        return
    wanted = [(than, outcome) for outcome in ("loss", "kl") for than in study.originals.both]
    headings = {"loss": "points gained over {}", "kl": "KL on tasks lower than of {} by, %"}
    formats = {"loss": points, "kl": reduction}
    seen = {condition for of_pair in found.values() for condition in of_pair}
    conditions = [
        condition
        for condition in (Condition(m, q) for m in study.members for q in study.quantizers)
        if condition in seen
    ]
    yield Block(
        heading=f"{study.arms[study.headline].title} beside the originals, cell by cell",
        level=3,
        text=["Single cells are not tested: of twenty intervals, one may exclude zero by chance."],
        columns=[
            "target",
            "quantizer",
            *(headings[outcome].format(study.arms[than].title) for than, outcome in wanted),
        ],
        rows=[
            [*condition, *(formats[o](found.get((than, o), {}).get(condition)) for than, o in wanted)]
            for condition in conditions
        ],
    )


def _accuracy_row(analysis: Analysis, loss: Compared) -> list[str]:
    return [
        *_compared(analysis, loss),
        points(loss.figure),
        "-" if loss.figure is None else f"{loss.figure.mde * 100:.2f}",
        p_value(loss.holm),
        loss.verdict,
        _costs_more(analysis, loss.pair.arm, loss.pair.than),
    ]


def _kl_row(analysis: Analysis, kl: Compared, prose: Compared) -> list[str]:
    return [
        *_compared(analysis, kl),
        reduction(kl.figure),
        "-" if kl.figure is None else f"{100 * (1 - math.exp(-kl.figure.mde)):.0f}",
        p_value(kl.holm),
        kl.verdict,
        reduction(prose.figure),
    ]


def _compared(analysis: Analysis, compared: Compared) -> list[str]:
    arms, pair = analysis.design.study.arms, compared.pair
    return [pair.isolates, f"{arms[pair.arm].title} against {arms[pair.than].title}"]


def _costs_more(analysis: Analysis, arm: str, than: str) -> str:
    mine, other = analysis.costs.get(arm), analysis.costs.get(than)
    if mine is None or other is None:
        return "-"
    tokens = _difference(mine.sampled_tokens, other.sampled_tokens)
    seconds = _difference(mine.data_seconds, other.data_seconds)
    if tokens is None or seconds is None:
        return "-"
    return f"{tokens:+,.0f} tokens, {seconds:+,.1f} {seconds_of(analysis)}"


def _difference(mine: float | None, other: float | None) -> float | None:
    return None if mine is None or other is None else mine - other
