"""One discovery pass over a family: list its source, compare with the registry, record what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from faq_pipeline.config.family import Family
from faq_pipeline.discovery.directory_source import DirectorySource
from faq_pipeline.discovery.hub_source import HubSource
from faq_pipeline.discovery.listing import Listing, Source
from faq_pipeline.discovery.scan import Change, Ignored, Scan, scan
from faq_pipeline.discovery.teacher_changes import TeacherChange, teacher_changes
from faq_pipeline.errors import FaqError
from faq_pipeline.registry.registry import Registry, load, update
from faq_pipeline.settings import Settings


@dataclass(frozen=True)
class DiscoveryResult:
    """What one discovery pass over a family found.

    Attributes:
        settings: with a catalog that holds what was found.
        registry: as it was written.
    """

    family: str
    changes: tuple[Change, ...]
    ignored: tuple[Ignored, ...]
    teacher_changes: tuple[TeacherChange, ...]
    settings: Settings
    registry: Registry


def discover(settings: Settings, name: str) -> DiscoveryResult:
    """Look for new members of a family, and register what changed.

    Raises:
        FaqError: no such family, or one without a discovery rule; its source does not answer or its
            answer makes no sense (nothing is registered then); the registry is broken.
    """
    known = load(settings.members)  # before the catalog reads it, so that what differs later is new to both
    catalog = settings.catalog
    before = catalog.family(name)
    family = catalog.written[name]
    if family.discovery is None:
        having = ", ".join(one.name for one in catalog.written.values() if one.discovery is not None)
        raise FaqError(f"family {name!r} has no discovery rule", hint=f"families that have: {having}")
    listing = _source(settings, family).look(family, known.of(name))
    found: Scan | None = None

    def change(registry: Registry) -> Registry:
        nonlocal found
        found = _scan(family, listing, registry, catalog.written)
        families = {**registry.families, name: found.members} if found.members else registry.families
        return registry.model_copy(update={"families": families, "releases": found.releases})

    registry = update(settings.members, change)
    assert found is not None
    teachers: list[TeacherChange] = []
    if registry != known:
        settings = Settings(settings.home, settings.data, settings.device)
    if found.changes:
        moved = {one.member: one.commit for one in found.changes}
        teachers = teacher_changes(before, settings.catalog.families[name], moved, catalog.recipes.values())
    return DiscoveryResult(name, found.changes, found.ignored, tuple(teachers), settings, registry)


def _source(settings: Settings, family: Family) -> Source:
    rule = family.discovery
    assert rule is not None
    return HubSource() if rule.directory is None else DirectorySource(rule.directory, settings.digests)


def _scan(family: Family, listing: Listing, registry: Registry, written: Mapping[str, Family]) -> Scan:
    named = {member.name for one in written.values() for member in one.members}
    registered = {member.name for members in registry.families.values() for member in members.values()}
    return scan(
        family,
        listing,
        registry.of(family.name),
        taken=named | registered,
        releases=registry.releases,
        now=datetime.now(UTC).isoformat(timespec="seconds"),
    )
