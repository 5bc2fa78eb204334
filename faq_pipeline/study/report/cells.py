"""The last blocks of a report: the arms under each condition, failures, and the machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from faq_pipeline.study.analysis.analysis import Analysis, ArmUnderCondition
from faq_pipeline.study.analysis.outcomes import Condition
from faq_pipeline.study.report.block import Block, kl, points

UNFILLED = 0.02
"""A calibration set is marked as short if it misses its token budget by more than this share."""


def conditions(analysis: Analysis) -> Iterator[Block]:
    """The arms under each target and quantizer."""
    yield Block(
        heading="Each target and quantizer",
        text=[
            "Short replies are those less than half as long as the unquantized model's whole reply to the"
            " same question; lowest and highest share of the draws. Where there are many, the model may skip"
            " its reasoning."
        ],
    )
    by_condition: dict[Condition, list[ArmUnderCondition]] = {}
    for arm in analysis.arms:
        by_condition.setdefault(arm.key.condition, []).append(arm)
    for condition, arms in by_condition.items():
        yield Block(
            heading=f"{condition.member}, {condition.quantizer}",
            level=3,
            columns=[
                "arm",
                "accuracy, %",
                "loss, points",
                "short replies, %",
                "KL on tasks, 1e-3",
                "KL on prose, 1e-3",
                "fitness",
                "tokens",
                "draws",
            ],
            rows=[_arm_row(analysis, arm) for arm in arms],
        )


def _arm_row(analysis: Analysis, arm: ArmUnderCondition) -> list[str]:
    failed = f" ({arm.failed} failed)" if arm.failed else ""
    return [
        analysis.design.study.arms[arm.key.arm].title,
        points(arm.accuracy),
        points(arm.loss),
        _range([100 * share for share in arm.short_replies]),
        kl(arm.kl),
        kl(arm.kl_prose),
        "-" if arm.fitness is None else f"{arm.fitness:.3f}",
        _tokens(analysis, arm),
        f"{arm.draws}{failed}",
    ]


def _range(values: Sequence[float]) -> str:
    """The lowest and the highest value, once if they look alike; `-` without values."""
    return " to ".join(dict.fromkeys(f"{f(values):.1f}" for f in (min, max))) if values else "-"


def _tokens(analysis: Analysis, arm: ArmUnderCondition) -> str:
    if arm.calibration_tokens is None:
        return "-"
    cell = next(c for c in analysis.design.cells if c.arm == arm.key.arm and c.member == arm.key.member)
    budget = cell.cell.recipe.calibration.tokens
    short = " (short)" if arm.calibration_tokens < (1 - UNFILLED) * budget else ""
    return f"{arm.calibration_tokens:,.0f}{short}"


def failures(analysis: Analysis) -> Iterator[Block]:
    """The cells that failed, with their reasons; nothing if there are none."""
    rows = [
        [row.member, row.arm, row.quantizer, row.split, str(row.draw), row.problem]
        for row in analysis.rows
        if row.status == "failed"
    ]
    if rows:
        yield Block(
            heading="Cells that failed",
            text=["They have no figures; comparisons with their arms rest on the other draws."],
            columns=["target", "arm", "quantizer", "split", "draw", "why"],
            rows=rows,
        )


def machines(analysis: Analysis) -> Block:
    """How many cells were made with which device, code and versions."""
    rows = [
        [
            str(one["cells"]),
            str(one["machine"].get("device", "unknown")),
            str(one["machine"].get("cores", "")),
            str(one["machine"].get("commit", "")),
            ", ".join(f"{name} {version}" for name, version in one["machine"].get("versions", {}).items()),
        ]
        for one in analysis.machines
    ]
    return Block(
        heading="What was run where",
        columns=["cells", "device", "cores", "commit", "versions"],
        rows=rows,
    )
