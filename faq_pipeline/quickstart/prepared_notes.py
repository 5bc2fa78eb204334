"""What `faq quantize` tells before it starts: the model, the token budget, and how the result is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faq_pipeline.config.family import Family
from faq_pipeline.quickstart.model_source import ModelSource
from faq_pipeline.quickstart.recipe_tree import RecipeFacts
from faq_pipeline.quickstart.teacher import millions


def describe_model(target: ModelSource) -> str:
    """Size, context, licence and thinking marks, in one sentence."""
    facts = target.facts
    thinking = f"reasoning in {facts.thinking.open}" if facts.thinking.open else "no thinking marks"
    size = f", {target.size / 1e9:.1f} GB to download" if target.size else ""
    return (
        f"model: {target.member.name}, {millions(target.member.parameters)} parameters, context"
        f" {facts.context:,}, licence {_licence(target)}, {thinking}{size}"
    )


def _licence(target: ModelSource) -> str:
    family: Family | None = target.family
    stated = target.member.licence
    if stated == "unknown" and family is not None:
        stated = family.licence
    return "not stated" if stated == "unknown" else stated


def describe_budget(tree: Mapping[str, Any], facts: RecipeFacts) -> str:
    """How many tokens the calibration set of a recipe has, and why."""
    if not facts.calibrated:
        return "calibration: none, the method looks at no data"
    tokens = f"calibration: {tree['calibration']['tokens']:,} tokens"
    if not tree.get("baselines"):
        return f"{tokens} at most"
    return (
        f"{tokens}, as many as the unchanged seeds hold, so that all sets are of equal size."
        " More seeds, or --no-baselines, allow more"
    )


def describe_judging(tree: Mapping[str, Any]) -> str:
    """What a recipe's evaluation measures."""
    tasks = tree["evaluation"].get("tasks")
    if tasks:
        return f"judged by: accuracy on {', '.join(tasks)}, and divergence (KL) on tasks and on prose"
    return (
        "judged by: divergence (KL) from the unquantized model, on tasks (without any: on its own replies to"
        " development prompts) and on prose; accuracy is not measured (--tasks)"
    )
