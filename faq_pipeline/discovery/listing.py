"""What a source of members (a hub or a folder) lists at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from faq_pipeline.config.family import Family
from faq_pipeline.registry.registry import Registered


@dataclass(frozen=True)
class Listed:
    """One repository or folder whose name has the form of the family's.

    Attributes:
        source: `owner/name` on a hub, or the path of a folder.
        commit: the hub's commit, or the digest of the folder's weights; "" where it cannot be told.
        parameters: number of weights; None where it was not told, or is known already.
        licence: as the source has it; None where it has none.
        problem: why it can be no member now, or "".
    """

    source: str
    commit: str
    parameters: int | None = None
    licence: str | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """Without the owner: what the discovery rule is about."""
        return Path(self.source).name

    @property
    def owner(self) -> str:
        """Of a hub repository; "" for a folder."""
        return "" if Path(self.source).is_absolute() else self.source.split("/")[0]


@dataclass(frozen=True)
class Listing:
    """Everything that a source lists, and which known members it certainly no longer has.

    A known member that is in neither was not queried this time, and stays as it is.
    """

    listed: tuple[Listed, ...] = ()
    gone: frozenset[str] = frozenset()


class Source(Protocol):
    """Where members of a family come from."""

    def look(self, family: Family, known: Mapping[str, Registered]) -> Listing:
        """What is there now; of commits in `known` nothing more needs to be found out.

        Raises:
            FaqError: the source does not answer, or its answer makes no sense.
        """
