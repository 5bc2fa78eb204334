"""The first block of a report."""

from __future__ import annotations

from faq_pipeline.study.analysis.analysis import Analysis
from faq_pipeline.study.analysis.pairs import FEW
from faq_pipeline.study.design.controls import has_draws
from faq_pipeline.study.report.block import Block, count


def head(analysis: Analysis) -> Block:
    """The title, the size of the study, and how its intervals are to be read."""
    study, counts = analysis.design.study, analysis.counts
    cells = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return Block(
        heading=study.title,
        level=1,
        text=[
            f"Study `{study.name}`: {count(study.arms, 'arm')} x {count(study.quantizers, 'quantizer')} x"
            f" {count(study.members, 'target')} x {count(study.draw_numbers, 'draw')}, on split"
            f" `{study.split}`; cells: {cells}. Every cell is a row of `cells.csv`.",
            *_fewer_declared(analysis),
            "Intervals are 95%, over draws and questions (KL: draws and sequences), and hold for these"
            " targets and quantizers. KL figures are geometric means over draws."
            + (
                " The MDE of a comparison is the smallest effect that such a study finds in 80% of cases;"
                " p-values are corrected by Holm over all comparisons of the study."
                if analysis.pairs
                else ""
            ),
            *_few_draws(analysis),
        ],
    )


def _fewer_declared(analysis: Analysis) -> list[str]:
    """Which arms have fewer draws than the study because it says so, not because cells are missing."""
    study, total = analysis.design.study, len(analysis.design.study.draw_numbers)
    # A checkpoint without data is the same in every draw, and lacks none.
    drawn = {cell.arm for cell in analysis.design.cells if has_draws(cell.cell.recipe)}
    fewer = [
        f"`{name}` ({arm.draws} of {total})"
        for name, arm in study.arms.items()
        if arm.draws is not None and arm.draws < total and name in drawn
    ]
    if not fewer:
        return []
    return [
        f"By its declaration the study makes only the first draws of {', '.join(fewer)}; comparisons rest on"
        " the draws that both arms have."
    ]


def _few_draws(analysis: Analysis) -> list[str]:
    """What intervals mean where a comparison has fewer draws than they are known to hold for."""
    if not any(one.figure is not None and one.figure.draws in FEW for one in analysis.pairs):
        return []
    return [
        "**Some comparisons have fewer than three draws.** An interval of one draw counts the questions"
        " alone, and says nothing of another draw. One of two draws is too narrow where they happen to agree."
    ]
