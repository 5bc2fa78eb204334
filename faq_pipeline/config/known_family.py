"""Families as the program sees them: the files', with what was found out since they were written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from faq_pipeline.config.family import Family, Member


@dataclass(frozen=True)
class WithdrawnMember:
    """A member that was there and is none now."""

    family: str
    source: str
    reason: str


@dataclass(frozen=True)
class KnownFamilies:
    """Families, and what is known of their members besides.

    Attributes:
        families: by name, each with its current members at their current revisions.
        revisions: by member and first 8 digits of the commit, the member as it was then.
        withdrawn: members that were there and are none now, by name.
        discovered: names of the members that no file names.
    """

    families: Mapping[str, Family]
    revisions: Mapping[str, Mapping[str, Member]] = field(default_factory=dict)
    withdrawn: Mapping[str, WithdrawnMember] = field(default_factory=dict)
    discovered: frozenset[str] = frozenset()
