"""An analysis as JSON-serializable data, as `results.json` holds it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from faq_pipeline.study.analysis.analysis import Analysis, ArmUnderCondition
from faq_pipeline.study.analysis.cell_table import CellRow
from faq_pipeline.study.analysis.crossed import Figure
from faq_pipeline.study.analysis.headline import Headline
from faq_pipeline.study.analysis.pairs import Compared


def serialized(analysis: Analysis) -> dict[str, Any]:
    """The analysis without its single cells."""
    study = analysis.design.study
    return {
        "study": study.name,
        "title": study.title,
        "split": study.split,
        "draws": list(study.draw_numbers),
        "cells": analysis.counts,
        "failures": [
            {"cell": _id(row), "problem": row.problem} for row in analysis.rows if row.status == "failed"
        ],
        "machines": analysis.machines,
        "primary": [
            {
                **one.condition._asdict(),
                "original": one.original,
                "loss": _figure(one.loss),
                "noise_floor": one.noise_floor,
                "primary": one.primary,
            }
            for one in analysis.chosen
        ],
        "headline": _headline(analysis.headline),
        "everywhere": _headline(analysis.everywhere),
        "headline_parts": {name: _headline(one) for name, one in analysis.parts.items()},
        "pairs": [_pair(one) for one in analysis.pairs],
        "fitness": [
            {
                **one.condition._asdict(),
                "spearman": one.estimate and one.estimate.as_dict(),
                "points": len(one.points),
            }
            for one in analysis.fitness
        ],
        "arms": [_arm(one) for one in analysis.arms],
        "costs": {name: asdict(cost) for name, cost in analysis.costs.items()},
    }


def _id(row: CellRow) -> str:
    return f"{row.member} {row.arm} {row.quantizer} {row.split} draw {row.draw}"


def _figure(figure: Figure | None) -> dict[str, float | int] | None:
    return None if figure is None else figure.as_dict()


def _headline(one: Headline) -> dict[str, Any]:
    return {
        "loss_reduction": _figure(one.figure),
        "reason": one.reason,
        "originals": [{**condition._asdict(), "original": arm} for condition, arm in one.originals.items()],
    }


def _pair(one: Compared) -> dict[str, Any]:
    return {
        **one.pair.model_dump(include={"arm", "than", "isolates"}),
        "outcome": one.outcome,
        "figure": _figure(one.figure),
        "holm_p": one.holm,
        "verdict": one.verdict,
        "conditions": [
            {**condition._asdict(), **figure.as_dict()} for condition, figure in one.conditions.items()
        ],
    }


def _arm(one: ArmUnderCondition) -> dict[str, Any]:
    figures = {name: _figure(getattr(one, name)) for name in ("accuracy", "loss", "kl", "kl_prose")}
    names = ("short_replies", "draws", "failed", "fitness", "calibration_tokens")
    rest = {name: getattr(one, name) for name in names}
    return {**one.key._asdict(), **figures, **rest}
