"""The content of a study's report as blocks, each with a heading, text, a table or a picture.

Markdown and HTML are rendered from the same blocks, so they have the same content.
"""

from __future__ import annotations

from collections.abc import Iterator

from faq_pipeline.study.analysis.analysis import Analysis
from faq_pipeline.study.analysis.headline import Headline, HeadlineCondition
from faq_pipeline.study.report.ablation import ablation
from faq_pipeline.study.report.block import (
    Block,
    count,
    interval,
    known_or_dash,
    points,
    seconds_of,
    share,
)
from faq_pipeline.study.report.cells import conditions, failures, machines
from faq_pipeline.study.report.head import head

SCATTER = "fitness.svg"


def blocks(analysis: Analysis) -> list[Block]:
    """The whole report, in order."""
    return [
        head(analysis),
        _headline(analysis),
        _primary(analysis),
        *ablation(analysis),
        *_fitness(analysis),
        _costs(analysis),
        *conditions(analysis),
        *failures(analysis),
        machines(analysis),
    ]


def headline_words(one: Headline) -> str:
    """The headline in words."""
    if one.figure is None:
        return f"The headline is not formed: {one.reason}."
    figure = one.figure
    if figure.low > 0:
        shown = ""
    elif figure.high < 0:
        shown = " The interval lies below zero: **more is lost** than with the better originals."
    else:
        shown = " The interval includes zero: that less is lost is **not shown**."
    return (
        f"Loss reduction **{share(figure)}** over {count(one.originals, 'primary cell')} (target x"
        f" quantizer), {figure.draws} draw{'' if figure.draws == 1 else 's'}.{shown}"
    )


def _headline(analysis: Analysis) -> Block:
    study = analysis.design.study
    text = [headline_words(analysis.headline)]
    if analysis.headline.figure is not None:
        text.append(
            f"It is 1 - (sum of the losses of `{study.headline}`) / (sum of the losses of the better"
            " original, raw or templated, of each cell), over the cells that pilot draws found primary."
        )
    if analysis.everywhere.figure is not None:
        text.append(
            f"Over {count(analysis.everywhere.originals, 'cell')} with answered questions, primary or not:"
            f" {share(analysis.everywhere.figure)}."
        )
    rows = [
        [name, str(len(one.originals)), share(one.figure)]
        for name, one in analysis.parts.items()
        if one.figure is not None
    ]
    return Block(
        heading="Headline",
        text=text,
        columns=["of the primary cells, those of", "primary cells", "loss reduction"] if rows else [],
        rows=rows,
    )


def _primary(analysis: Analysis) -> Block:
    study = analysis.design.study
    split = study.primary.split or study.split
    unseen = "draws and a split" if split != study.split else "draws"
    rule = (
        f"A cell is primary if the better original loses more than {study.primary.times:g} times its noise"
        f" floor (the half-width of the loss's interval) on draws"
        f" {', '.join(map(str, study.primary.draws))} and split `{split}`: {unseen} that the headline does"
        " not use."
    )
    rows = [_primary_row(one, analysis) for one in analysis.chosen]
    columns = [
        "target",
        "quantizer",
        "better original",
        "its loss on pilots, points",
        "noise floor",
        "primary",
    ]
    return Block(heading="Primary cells", level=3, text=[rule], columns=columns, rows=rows)


def _primary_row(one: HeadlineCondition, analysis: Analysis) -> list[str]:
    if one.loss is None or one.noise_floor is None:
        return [*one.condition, "-", "pilots are missing", "-", "no"]
    title = analysis.design.study.arms[one.original].title
    return [
        *one.condition,
        title,
        points(one.loss),
        f"{one.noise_floor * 100:.2f}",
        "yes" if one.primary else "no",
    ]


def _fitness(analysis: Analysis) -> Iterator[Block]:
    formed = [one for one in analysis.fitness if one.estimate is not None]
    if not formed:
        return
    yield Block(
        heading="Fitness before quantizing, KL after it",
        text=[
            "Rank correlation (Spearman) of a calibration set's fitness with the KL of its checkpoint, over"
            " all arms and draws; intervals over draws."
        ],
        columns=["target", "quantizer", "checkpoints", "rank correlation", ""],
        rows=[
            [
                *one.condition,
                str(len(one.points)),
                interval(one.estimate, 2, 1),
                "shown" if one.estimate.low > 0 or one.estimate.high < 0 else "not shown",
            ]
            for one in formed
            if one.estimate is not None
        ],
    )
    yield Block(plot=SCATTER)


def _costs(analysis: Analysis) -> Block:
    titles = {name: arm.title for name, arm in analysis.design.study.arms.items()}
    unit = seconds_of(analysis)
    rows = [
        [
            titles[name],
            known_or_dash(cost.sampled_tokens, ",.0f"),
            *(known_or_dash(seconds, ".1f") for seconds in (*cost.seconds.values(), cost.data_seconds)),
        ]
        for name, cost in analysis.costs.items()
    ]
    columns = ["arm", "tokens sampled", f"corpus, {unit}", "competition", "calibration set", "together"]
    text = [
        "What one calibration set costs, as the mean over targets and draws. A corpus that several arms share"
        " counts for each of them. Seconds are those of one process; others of the study may have run beside"
        " it."
    ]
    finished = [row for row in analysis.rows if row.status == "finished" and not row.pilot]
    unknown = [row for row in finished if row.data_seconds is None]
    if unknown:
        text.append(
            f"What the data of {count(unknown, 'cell')} cost is unknown, since artifacts that it was made"
            " of are not in the store. These cells do not count here; `-`: all cells of the arm."
        )
    return Block(heading="What the data costs", text=text, columns=columns, rows=rows)
