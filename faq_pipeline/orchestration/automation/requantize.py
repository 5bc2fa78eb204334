"""Schedules that request the stale and missing cells of families with a `cron`, within their budget."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC

import dagster as dg

from faq_pipeline.config.family import Family
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.orchestration.automation.requests import asked_before, job_of, run_request
from faq_pipeline.orchestration.dagster_internals.schedule_time import CheckError
from faq_pipeline.orchestration.partitions import register_cells
from faq_pipeline.planning.tick_plan import Asked, Choice, TickPlan, plan_tick
from faq_pipeline.settings import Settings
from faq_pipeline.util.memoize import memoizing

MOST_TOLD = 10
"""Maximum number of waiting cells in a tick's message; `faq status --plan` shows all."""
NAME, TIME = "dagster/schedule_name", ".dagster/scheduled_execution_time"
"""Tags that Dagster sets on the runs of a tick, and uses to find them when it resumes the tick."""
RELOAD = "the families changed since Dagster loaded them: reload the code location"

Evaluation = Iterator[dg.RunRequest | dg.SkipReason]


def requantize_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """A schedule `requantize_stale_<family>` for every family with `requantize.cron`."""
    return [
        _schedule(family, family.requantize.cron, settings)
        for family in settings.catalog.written.values()
        if family.requantize is not None and family.requantize.cron is not None
    ]


def plan_in_words(plan: TickPlan) -> str:
    """The cells that a tick does not request, with their reasons, as one message."""
    waiting = [f"{partition}: {reason}" for partition, reason in plan.waiting]
    if not waiting:
        return f"all {plan.fresh} cells are fresh"
    more = [f"and {len(waiting) - MOST_TOLD} more"] if len(waiting) > MOST_TOLD else []
    return "; ".join([f"{plan.fresh} cells are fresh", *waiting[:MOST_TOLD], *more])


def _schedule(family: Family, cron: str, loaded: Settings) -> dg.ScheduleDefinition:
    job, name = job_of(family), f"requantize_stale_{re.sub(r'[^a-z0-9]', '_', family.name)}"

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Requests the stale and missing cells of family {family.name}, most valuable first.",
    )
    def requantize_stale(context: dg.ScheduleEvaluationContext) -> Evaluation:
        settings = loaded.reread()
        try:
            catalog = settings.catalog
            # A file that is broken may be this family's: that is told then.
            now = (
                catalog.family(family.name) if catalog.broken_families else catalog.families.get(family.name)
            )
        except FaqError as error:
            yield dg.SkipReason(str(error))
            return
        if now is None or now.requantize is None or job_of(now) != job:
            yield dg.SkipReason(RELOAD)
            return
        yield from _ask(context, settings, now, _asked(context, name))

    return requantize_stale


def _ask(
    context: dg.ScheduleEvaluationContext, settings: Settings, family: Family, asked: Asked
) -> list[dg.RunRequest] | list[dg.SkipReason]:
    with memoizing():
        plan = plan_tick(settings, family, asked)
        chosen = [(c.judged.cell, reason_of(c)) for c in plan.chosen if c.judged.cell is not None]
        requests = [run_request(cell, reason) for cell, reason in chosen]
    if not requests:
        return [dg.SkipReason(plan_in_words(plan))]
    register_cells(context.instance, [cell.partition for cell, _ in chosen])
    for cell, reason in chosen:
        context.log.info(f"{cell.partition}: {reason}")
    context.log.info(plan_in_words(plan))
    return requests


def reason_of(choice: Choice) -> str:
    """The reason why a cell is requested, used as a tag of its run."""
    return f"{choice.judged.state}: {choice.judged.reason}"


def _asked(context: dg.ScheduleEvaluationContext, schedule: str) -> Asked:
    """Finds cells that were requested before this tick."""
    tick = _tags_of_runs(context, schedule)

    def asked(cells: Sequence[Cell]) -> Mapping[str, str]:
        return asked_before(context.instance, cells, tick)

    return asked


def _tags_of_runs(context: dg.ScheduleEvaluationContext, schedule: str) -> Mapping[str, str] | None:
    """The tags that Dagster sets on the runs of this tick; None if it is evaluated manually."""
    try:
        time = context.scheduled_execution_time
    except CheckError:  # evaluated manually, without a scheduled time
        return None
    return {
        NAME: schedule,
        TIME: time.astimezone(UTC).isoformat(),
    }
