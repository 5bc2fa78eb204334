"""Sensors that discover new members, one for each family with a discovery rule."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import dagster as dg

from faq_pipeline.config.family import Family
from faq_pipeline.discovery.discover import DiscoveryResult, discover
from faq_pipeline.errors import FaqError
from faq_pipeline.orchestration.automation.releases import Asked, Cursor, ask
from faq_pipeline.orchestration.jobs import QUANTIZE, REQUANTIZE
from faq_pipeline.orchestration.known_partitions import cells_of, partition_of
from faq_pipeline.orchestration.partitions import MEMBERS, add_requests, missing
from faq_pipeline.settings import Settings

MOST_PARTITIONS = 100
"""Maximum number of member partitions that one tick adds."""
SHOWN = 5
"""Maximum number of reasons in a skip message; the tick's log has all."""


def build_discovery_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """A sensor `discover_<family>` for each family with a discovery rule, initially stopped."""
    families = [family for family in settings.catalog.written.values() if family.discovery is not None]
    names = sensor_names(family.name for family in families)
    return [_sensor(names[family.name], family, settings) for family in families]


def sensor_names(families: Iterable[str]) -> dict[str, str]:
    """The sensor name for each family, in letters, digits and underscores as Dagster requires."""
    names: dict[str, str] = {}
    for family in families:
        plain = "discover_" + re.sub(r"\W", "_", family)
        alike = sum(re.fullmatch(rf"{plain}(_\d+)?", name) is not None for name in names.values())
        names[family] = f"{plain}_{alike + 1}" if alike else plain
    return names


def _sensor(name: str, family: Family, settings: Settings) -> dg.SensorDefinition:
    rule = family.discovery
    assert rule is not None

    @dg.sensor(
        name=name,
        description=f"Looks for new members and new commits of family {family.name}"
        f" {'on the hub' if rule.directory is None else 'in a directory'}.",
        job_name=QUANTIZE if family.publish is None else REQUANTIZE,
        minimum_interval_seconds=rule.interval_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
    )
    def discover(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return tick(context, settings.reread(), family.name)

    return discover


def tick(
    context: dg.SensorEvaluationContext, settings: Settings, family: str
) -> dg.SensorResult | dg.SkipReason:
    """Discover once, register changes, add partitions, and request the runs of releases.

    The registry is written before runs are requested, and the cursor stores what was requested. So if a
    tick is killed in between, the next one catches up.
    """
    try:
        seen = discover(settings, family)
    except FaqError as error:
        return dg.SkipReason(str(error))
    cursor = Cursor.read(context.cursor, seen.registry.id)
    if seen.teacher_changes:
        cursor = replace(cursor, said="; ".join(map(str, seen.teacher_changes)))
    asked = ask(seen, context.instance, cursor)
    partitions, waiting = _partitions(seen, asked, context.instance)
    for line in _lines(seen, asked, waiting):
        context.log.info(line)
    return dg.SensorResult(
        run_requests=asked.runs,
        skip_reason=None if asked.runs else _summary(seen, asked, partitions, waiting),
        dynamic_partitions_requests=add_requests(
            context.instance, partitions, _cells(seen, asked, partitions)
        ),
        cursor=str(asked.cursor),
    )


def _partitions(seen: DiscoveryResult, asked: Asked, instance: dg.DagsterInstance) -> tuple[list[str], int]:
    """The member partitions to add now, those that runs need first, and the number left for later."""
    members = seen.settings.catalog.families[seen.family].members
    usable = [key for member in members if (key := partition_of(member, seen.settings)[0])]
    new = missing(instance, MEMBERS, dict.fromkeys([*asked.members, *usable]))
    return new[:MOST_PARTITIONS], len(new[MOST_PARTITIONS:])


def _cells(seen: DiscoveryResult, asked: Asked, members: list[str]) -> list[str]:
    """The cells to add now: those of the runs, and all of the new members."""
    catalog, cells = seen.settings.catalog, [str(run.partition_key) for run in asked.runs]
    family = catalog.families[seen.family]
    named = {member.name: member for member in family.members}
    for key in members:
        if (name := key.partition("@")[0]) in named:
            cells += cells_of(key, catalog, family, named[name])
    return list(dict.fromkeys(cells))


def _lines(seen: DiscoveryResult, asked: Asked, waiting: int) -> list[str]:
    lines = [str(item) for item in (*seen.changes, *seen.teacher_changes, *seen.ignored)]
    lines += [f"cannot be made now: {cell}: {reason}" for cell, reason in asked.reasons.items()]
    if asked.left or waiting:
        lines.append(f"left for later ticks: {asked.left} releases, {waiting} partitions")
    if asked.forgotten:
        lines.append(f"too many cells wait; the {asked.forgotten} oldest were dropped")
    return lines


def _summary(seen: DiscoveryResult, asked: Asked, partitions: list[str], waiting: int) -> str:
    """The reason why no run is requested, in one short message."""
    parts = [f"{len(seen.changes)} changes" if seen.changes else "no change"]
    if partitions:
        parts.append(f"{len(partitions)} new partitions, {waiting} wait for the next tick")
    parts += [str(change) for change in seen.teacher_changes]
    cells = [f"{cell} cannot be made now: {reason}" for cell, reason in asked.reasons.items()]
    ignored = [str(source) for source in seen.ignored]
    for lines in (cells, ignored):
        parts += lines[:SHOWN]
        if len(lines) > SHOWN:
            parts.append(f"and {len(lines) - SHOWN} more")
    return "; ".join(parts)
