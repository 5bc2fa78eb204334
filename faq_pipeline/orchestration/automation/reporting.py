"""Staleness where people look for it: observations on the partitions of checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from faq_pipeline.errors import FaqError
from faq_pipeline.lineage.uses import used_partitions
from faq_pipeline.models.weights import find_weights
from faq_pipeline.planning.cell_status import CellStatus, cell_status
from faq_pipeline.planning.staleness import State
from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT
from faq_pipeline.settings import Settings
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.util.memoize import memoizing

MOST_EVENTS = 100
"""Observations a tick; what is left is reported by the next ones."""
CELL, STANDS = 10, 6
"""Hex digits of the cursor for a cell's name, and for how it stands."""


@dg.sensor(
    name="report_staleness",
    description="Observes on the partition of a checkpoint that it is stale, and why, or complete again.",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    target=[],
)
def report_staleness(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Reports changes alone; the cursor has the cells that are reported as not complete, 16 digits each."""
    try:
        settings = Settings.from_environment()
        judged = {_hash(one.partition, CELL): one for one in _told(settings)}
    except FaqError as error:
        return dg.SkipReason(str(error))
    before = _read(context.cursor)
    changed = [key for key, one in judged.items() if before.get(key, "") != _stands(one)]
    after = {key: stands for key, stands in before.items() if key in judged}
    now, later = changed[:MOST_EVENTS], changed[MOST_EVENTS:]
    after |= {key: _stands(judged[key]) for key in now}
    return dg.SensorResult(
        skip_reason=f"{len(now)} of {len(judged)} cells are reported, {len(later)} wait for the next tick",
        asset_events=[_observation(judged[key]) for key in now],
        cursor="".join(key + stands for key, stands in after.items() if stands),
    )


def _told(settings: Settings) -> Iterator[CellStatus]:
    """Cells with a partition that were completed once, or that the family's schedule is for."""
    catalog, used = settings.catalog, used_partitions(settings.store)
    with memoizing():
        for family in catalog.families.values():
            wanted = family.requantize.recipes if family.requantize else []
            for member in family.members:
                try:
                    partition = find_weights(member, settings.digests).partition
                except FaqError:
                    continue  # without weights there is no revision
                for recipe in {*wanted, *(name for name in catalog.recipes if f"{partition}|{name}" in used)}:
                    one = cell_status(settings, member.name, recipe)
                    if recipe in wanted or one.state in (State.COMPLETE, State.STALE):
                        yield one


def _observation(one: CellStatus) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key=QUANTIZED_CHECKPOINT.name,
        partition=one.partition,
        description=f"{one.state}: {one.reason}" if one.reason else str(one.state),
        metadata={
            "state": str(one.state),
            "reason": one.reason or "all that it declares is made",
            **({"out_of_date": one.freshness.stage} if one.freshness.stage else {}),
        },
    )


def _stands(one: CellStatus) -> str:
    """How the cell stands, in few digits; empty where there is nothing to report."""
    return "" if one.state is State.COMPLETE else _hash(f"{one.state} {one.reason}", STANDS)


def _hash(text: str, digits: int) -> str:
    return short_hash(text.encode())[:digits]


def _read(cursor: str | None) -> dict[str, str]:
    """What was reported, by cell; a cursor of another form counts as none."""
    text, width = cursor or "", CELL + STANDS
    if len(text) % width or set(text) - set("0123456789abcdef"):
        return {}
    parts = [text[start : start + width] for start in range(0, len(text), width)]
    return {part[:CELL]: part[CELL:] for part in parts}
