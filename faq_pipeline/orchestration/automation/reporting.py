"""Report staleness in the Dagster UI, as observations on the partitions of checkpoints."""

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
"""Maximum number of observations per tick; the next ticks report the rest."""
CELL, STATE = 10, 6
"""Number of hex digits in the cursor for a cell's name and for its state."""


def staleness_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor `report_staleness`."""

    @dg.sensor(
        name="report_staleness",
        description="Reports checkpoints that became stale, with the reason, or complete again.",
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING,
        target=[],
    )
    def report_staleness(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return report(context, settings.reread())

    return report_staleness


def report(context: dg.SensorEvaluationContext, settings: Settings) -> dg.SensorResult | dg.SkipReason:
    """Report only changes. The cursor stores the cells reported as not complete, 16 digits each.

    Cells of a broken file are neither reported nor forgotten.
    """
    try:
        broken = [*settings.catalog.broken_families.values(), *settings.catalog.broken.values()]
        statuses = {_hash(status.partition, CELL): status for status in _watched(settings)}
    except FaqError as error:
        return dg.SkipReason(str(error))
    before = _read(context.cursor)
    changed = [key for key, status in statuses.items() if before.get(key, "") != _digits(status)]
    after = {key: digits for key, digits in before.items() if broken or key in statuses}
    now, later = changed[:MOST_EVENTS], changed[MOST_EVENTS:]
    after |= {key: _digits(statuses[key]) for key in now}
    counts = f"{len(now)} of {len(statuses)} cells are reported, {len(later)} wait for the next tick"
    return dg.SensorResult(
        skip_reason="; ".join([counts, *map(str, broken)]),
        asset_events=[_observation(statuses[key]) for key in now],
        cursor="".join(key + digits for key, digits in after.items() if digits),
    )


def _watched(settings: Settings) -> Iterator[CellStatus]:
    """The cells with a partition that were completed once or that the family's schedule includes."""
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
                    status = cell_status(settings, member.name, recipe)
                    if recipe in wanted or status.state in (State.COMPLETE, State.STALE):
                        yield status


def _observation(status: CellStatus) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key=QUANTIZED_CHECKPOINT.name,
        partition=status.partition,
        description=f"{status.state}: {status.reason}" if status.reason else str(status.state),
        metadata={
            "state": str(status.state),
            "reason": status.reason or "everything that it declares is made",
            **({"out_of_date": status.freshness.stage} if status.freshness.stage else {}),
        },
    )


def _digits(status: CellStatus) -> str:
    """A short hash of the cell's state and reason; empty if the cell is complete."""
    if status.state is State.COMPLETE:
        return ""
    return _hash(f"{status.state} {status.reason}", STATE)


def _hash(text: str, digits: int) -> str:
    return short_hash(text.encode())[:digits]


def _read(cursor: str | None) -> dict[str, str]:
    """The reported states by cell; empty for a cursor of another format."""
    text, width = cursor or "", CELL + STATE
    if len(text) % width or set(text) - set("0123456789abcdef"):
        return {}
    parts = [text[start : start + width] for start in range(0, len(text), width)]
    return {part[:CELL]: part[CELL:] for part in parts}
