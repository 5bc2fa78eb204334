"""Compares a listing with the registered members: what is new, moved, withdrawn or ignored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from faq_pipeline.config.family import Family, Member
from faq_pipeline.discovery.listing import Listed, Listing
from faq_pipeline.registry.merge import pins
from faq_pipeline.registry.naming import member_name
from faq_pipeline.registry.registry import Registered, Revision

Kind = Literal["new member", "new commit", "rolled back", "withdrawn", "returned"]


@dataclass(frozen=True)
class Change:
    """One change of a member since the last discovery pass."""

    kind: Kind
    member: str
    source: str
    commit: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.member}@{self.commit[:8]} ({self.source})"


@dataclass(frozen=True)
class Ignored:
    """A repository or folder whose name matches the rule, and why it is not a member."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"ignored: {self.source}: {self.reason}"


@dataclass(frozen=True)
class Scan:
    """The family's members after a pass, what changed, and what was ignored.

    Attributes:
        members: by source; those that were known before are still there, withdrawn or not.
        releases: number of the last release.
    """

    members: dict[str, Registered]
    changes: tuple[Change, ...]
    ignored: tuple[Ignored, ...]
    releases: int


def scan(
    family: Family,
    listing: Listing,
    known: Mapping[str, Registered],
    *,
    taken: Collection[str],
    releases: int,
    now: str,
) -> Scan:
    """Compare a listing with the registered members.

    A commit seen before is not a release, even if the source moves back to it. An entry listed with a
    problem never replaces a registered member. Only members that the listing reports gone are withdrawn.

    Args:
        known: the family's registered members, by source.
        taken: names of the members of all families.
        releases: number of the last release so far.
        now: the time, as it shall be recorded.
    """
    sources = [listed.source for listed in listing.listed]
    look = _Look(family, dict(known), sources, set(taken), releases, now)
    for listed in sorted(listing.listed, key=lambda one: one.source):
        look.at(listed)
    for source in sorted(listing.gone):
        look.withdraw(source)
    return Scan(look.members, tuple(look.changes), tuple(look.ignored), look.releases)


class _Look:
    """One scan under way."""

    def __init__(
        self,
        family: Family,
        members: dict[str, Registered],
        sources: Iterable[str],
        taken: set[str],
        releases: int,
        now: str,
    ) -> None:
        self.members, self.releases = members, releases
        self.changes: list[Change] = []
        self.ignored: list[Ignored] = []
        self._family, self._taken, self._now = family, taken, now
        self._pins = pins(family, {**self.members, **dict.fromkeys(sources)})

    def at(self, listed: Listed) -> None:
        """Take in one repository or folder."""
        if reason := self._stranger(listed):
            self.ignored.append(Ignored(listed.source, reason))
            return
        known = self._with_pin(listed)
        if known is not None and known.revision(listed.commit):
            self._moved(listed.source, known, listed.commit)
            return
        if reason := self._unfit(listed):
            self.ignored.append(Ignored(listed.source, reason))
        elif known is None:
            self._first(listed)
        else:
            self._released(listed, known)

    def withdraw(self, source: str) -> None:
        """Its source has it no more."""
        known = self.members.get(source)
        if known is not None and known.withdrawn is None:
            self.members[source] = known.model_copy(update={"withdrawn": self._now})
            self._tell("withdrawn", source)

    def _stranger(self, listed: Listed) -> str:
        """Why a name of the right form is none of the family's, or ""."""
        rule = self._family.discovery
        assert rule is not None
        if rule.directory is None and listed.owner not in self._family.owners:
            return f"owner {listed.owner!r} is not among the family's owners"
        if not rule.matches(listed.name):
            return "its name does not match the discovery rule"
        return "excluded by the discovery rule" if rule.excludes(listed.name) else ""

    def _unfit(self, listed: Listed) -> str:
        """Why a revision that was not seen before cannot be a member's, or ""."""
        rule = self._family.discovery
        assert rule is not None
        if listed.problem:
            return listed.problem
        if listed.parameters is None:
            return "its number of parameters is not known"
        if not rule.sized(listed.parameters):
            return f"its size is out of bounds: {listed.parameters:,} parameters"
        return ""

    def _first(self, listed: Listed) -> None:
        """A source that was never seen; the family's file may know it already."""
        member = self._pins.get(listed.source)
        if member is None:
            name = member_name(listed.source, self._taken)
            self._taken.add(name)
            self._keep(listed.source, name, (self._revision(listed),), listed.commit)
            self._tell("new member", listed.source)
        else:
            at_pin = member.revision in (None, listed.commit)  # a folder's member is as it is now
            first = self._pin(member, listed if at_pin else None)
            self._keep(listed.source, member.name, (first,), first.commit)
            if not at_pin:
                self._released(listed, self.members[listed.source])

    def _with_pin(self, listed: Listed) -> Registered | None:
        """What is known of a source. A commit that the file names now joins its past, unless it is shown."""
        known, member = self.members.get(listed.source), self._pins.get(listed.source)
        commit = None if member is None else member.revision
        if known is None or member is None or commit in (None, listed.commit) or known.revision(str(commit)):
            return known
        revisions = (self._pin(member, None), *known.revisions)
        self.members[listed.source] = known.model_copy(update={"revisions": revisions})
        return self.members[listed.source]

    def _released(self, listed: Listed, known: Registered) -> None:
        """A known member at a commit that was never seen."""
        revisions = (*known.revisions, self._revision(listed))
        self._keep(listed.source, known.name, revisions, listed.commit)
        if known.withdrawn is not None:
            self._tell("returned", listed.source)
        self._tell("new commit", listed.source)

    def _moved(self, source: str, known: Registered, commit: str) -> None:
        """A known member at a commit that was seen before."""
        if known.withdrawn is None and known.current == commit:
            return
        self._keep(source, known.name, known.revisions, commit)
        if known.withdrawn is not None:
            self._tell("returned", source)
        if known.current != commit:
            self._tell("rolled back", source)

    def _keep(self, source: str, name: str, revisions: tuple[Revision, ...], current: str) -> None:
        self.members[source] = Registered(name=name, revisions=revisions, current=current)

    def _revision(self, listed: Listed) -> Revision:
        assert listed.parameters is not None
        return Revision(
            commit=listed.commit,
            seen=self._now,
            parameters=listed.parameters,
            licence=listed.licence or "unknown",
            release=self._number(),
        )

    def _pin(self, member: Member, listed: Listed | None) -> Revision:
        """What the file names, by the file; the listing helps out if it shows the very same."""
        licence = member.licence
        if licence == "unknown" and listed is not None and listed.licence:
            licence = listed.licence
        commit = str(member.revision) if listed is None else listed.commit
        return Revision(commit=commit, seen=self._now, parameters=member.parameters, licence=licence)

    def _number(self) -> int:
        self.releases += 1
        return self.releases

    def _tell(self, kind: Kind, source: str) -> None:
        member = self.members[source]
        written = self._pins.get(source)
        name = member.name if written is None else written.name
        self.changes.append(Change(kind, name, source, member.current))
