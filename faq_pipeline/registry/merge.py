"""Merges the registry's members into the families of the YAML files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faq_pipeline.config.family import Family, KnownFamilies, Member, WithdrawnMember
from faq_pipeline.registry.naming import member_name
from faq_pipeline.registry.registry import Registered, Revision, load

Records = Mapping[str, Registered]
"""Registered members of one family, by source."""


def merge_registry(path: Path) -> Callable[[Mapping[str, Family]], KnownFamilies]:
    """A function that merges the registry at `path` into families; the file is read when it is called."""
    return lambda written: with_registered(written, load(path).families)


def with_registered(written: Mapping[str, Family], registered: Mapping[str, Records]) -> KnownFamilies:
    """The families of the files, with their registered members.

    A member of a file whose source is registered keeps its name and settings, and is at the revision
    that its source shows now; a commit that the file names and the registry has never seen is newer.
    Registered members that the family's discovery rule does not admit (any more) do not count.
    """
    found = _Found({member.name for family in written.values() for member in family.members})
    families = {
        name: found.extended(
            family, {s: r for s, r in registered.get(name, {}).items() if admits(family, s, r)}
        )
        for name, family in written.items()
    }
    return KnownFamilies(families, found.revisions, found.withdrawn, frozenset(found.discovered))


def admits(family: Family, source: str, record: Registered) -> bool:
    """Whether the family's current discovery rule still matches the registered member."""
    rule, place = family.discovery, Path(source)
    if rule is None or not rule.names(place.name) or not rule.sized(record.now.parameters):
        return False
    if rule.directory is not None:
        return place.parent == rule.directory
    return not place.is_absolute() and place.parent.name in family.owners


def pins(family: Family, sources: Mapping[str, object]) -> dict[str, Member]:
    """The family's members that have one of these sources, by source. A file's paths have no links."""
    real = {str(Path(s).resolve()): s for s in sources if Path(s).is_absolute()}
    real |= {source: source for source in sources}
    keyed = ((member.hub or str(member.path), member) for member in family.members)
    return {real[key]: member for key, member in keyed if key in real}


@dataclass
class _Found:
    """What the registry tells of members; `taken` are the names that are in use."""

    taken: set[str]
    revisions: dict[str, dict[str, Member]] = field(default_factory=dict)
    withdrawn: dict[str, WithdrawnMember] = field(default_factory=dict)
    discovered: set[str] = field(default_factory=set)

    def extended(self, family: Family, records: Records) -> Family:
        """The family with its records taken in."""
        if not records:
            return family
        pinned = pins(family, records)
        sources = {member.name: source for source, member in pinned.items()}
        members = [
            self._followed(family.name, member, sources[member.name], records[sources[member.name]])
            if member.name in sources
            else member
            for member in family.members
        ]
        members += [
            self._new(family.name, source, record)
            for source, record in records.items()
            if source not in pinned
        ]
        return family.model_copy(update={"members": [m for m in members if m.name not in self.withdrawn]})

    def _followed(self, family: str, member: Member, source: str, record: Registered) -> Member:
        """A file's member at the revision that its source shows."""
        self._tell(family, member, source, record, member.licence)
        if record.revision(member.revision or "") is None:  # a folder, or a commit newer than the registry
            return member
        return _at(member, record.now, member.licence)

    def _new(self, family: str, source: str, record: Registered) -> Member:
        """A member that no file names."""
        name = member_name(source, self.taken) if record.name in self.taken else record.name
        self.taken.add(name)
        self.discovered.add(name)
        now = record.now
        member = (
            Member(name=name, path=Path(source), parameters=now.parameters, licence=now.licence)
            if Path(source).is_absolute()
            else Member(
                name=name, hub=source, revision=now.commit, parameters=now.parameters, licence=now.licence
            )
        )
        self._tell(family, member, source, record)
        return member

    def _tell(
        self, family: str, member: Member, source: str, record: Registered, licence: str = "unknown"
    ) -> None:
        if record.withdrawn is not None:
            reason = f"withdrawn: {source} was gone on {record.withdrawn[:10]}"
            self.withdrawn[member.name] = WithdrawnMember(family, source, reason)
        elif member.hub is not None:
            self.revisions[member.name] = {r.commit[:8]: _at(member, r, licence) for r in record.revisions}


def _at(member: Member, revision: Revision, licence: str) -> Member:
    """The member at a revision, under `licence` if that is known.

    Remote code is trusted at the commit for which somebody wrote so, and at no other.
    """
    return member.model_copy(
        update={
            "revision": revision.commit,
            "parameters": revision.parameters,
            "licence": revision.licence if licence == "unknown" else licence,
            "trust_remote_code": member.trust_remote_code and member.revision == revision.commit,
        }
    )
