"""`faq status --plan`: the cells that each family's schedule would request at its next tick."""

from __future__ import annotations

from typing import Any

from faq_pipeline.cli.display import out, print_json, say, table
from faq_pipeline.config.family import Family
from faq_pipeline.planning.tick_plan import TickPlan, plan_tick
from faq_pipeline.settings import Settings


def show_plans(settings: Settings, families: list[Family], *, json: bool) -> None:
    """Print the plan of the next tick of each family. Every family must have `requantize`."""
    plans = _plans(settings, families)
    if json:
        print_json({"plans": [_plan_as_dict(plan) for plan in plans]})
        return
    for plan in plans:
        _show_plan(plan)
    if not plans:
        say("no family has 'requantize', so nothing is requested automatically")


def _plans(settings: Settings, families: list[Family]) -> list[TickPlan]:
    if not settings.has_dagster_home:
        return [plan_tick(settings, family, lambda cells: {}) for family in families]
    from faq_pipeline.orchestration.automation.requests import asked_before
    from faq_pipeline.orchestration.runs import open_instance

    with open_instance(settings) as instance:
        return [
            plan_tick(settings, family, lambda cells: asked_before(instance, cells)) for family in families
        ]


def _show_plan(plan: TickPlan) -> None:
    wanted = plan.family.requantize
    assert wanted is not None
    shown = [
        [
            choice.judged.member,
            choice.judged.recipe,
            choice.value.name.lower(),
            str(choice.judged.state),
            f"{choice.gpu_hours:.3f}" if choice.known else "unknown",
            choice.waits or "requested",
            choice.judged.reason,
        ]
        for choice in plan.choices
    ]
    shown += [[o.member, o.recipe, "", str(o.state), "", "", o.reason] for o in plan.impossible]
    columns = ["member", "recipe", "value", "state", "GPU-hours", "next tick", "why"]
    when = f"cron {wanted.cron}, UTC" if wanted.cron else "no cron: plan only"
    if shown:
        out().print(table(f"{plan.family.name}: the next tick ({when})", columns, shown))
    unknown = sum(not choice.known for choice in plan.chosen)
    more = f" and {unknown} of unknown cost" if unknown else ""
    say(
        f"{plan.family.name}: {plan.fresh} cells are complete, {len(plan.chosen)} would be requested,"
        f" {plan.gpu_hours:.3f} of {plan.budget:g} GPU-hours{more}"
    )


def _plan_as_dict(plan: TickPlan) -> dict[str, Any]:
    wanted = plan.family.requantize
    assert wanted is not None
    return {
        "family": plan.family.name,
        "cron": wanted.cron,
        "max_gpu_hours": plan.budget,
        "gpu_hours": round(plan.gpu_hours, 4),
        "complete": plan.fresh,
        "cells": [
            {
                "partition": choice.judged.partition,
                "state": str(choice.judged.state),
                "reason": choice.judged.reason,
                "value": choice.value.name.lower(),
                "gpu_hours": round(choice.gpu_hours, 4),
                "cost_known": choice.known,
                "asked": not choice.waits,
                "waits": choice.waits or None,
            }
            for choice in plan.choices
        ],
        "impossible": [{"partition": cell.partition, "reason": cell.reason} for cell in plan.impossible],
    }
