"""A family on a hub that exists in tests only, and shorthand for what its hub may show."""

from __future__ import annotations

import hashlib
from typing import Any

from faq_pipeline.config.family import Family
from faq_pipeline.discovery.listing import Listed, Listing
from faq_pipeline.discovery.scan import Scan, scan
from faq_pipeline.registry.registry import Registered, Registry

NOW = "2026-11-20T10:00:00+00:00"


def sha(word: str) -> str:
    """A commit hash that says nothing but is always the same for a word."""
    return hashlib.sha1(word.encode()).hexdigest()


def acme(**changes: Any) -> Family:
    """Family `acme` with one member in its file, `small` = acme/Ace-1B at commit `pin`."""
    member = {"name": "small", "hub": "acme/Ace-1B", "revision": sha("pin"), "parameters": 10**9}
    return Family.model_validate(
        {
            "name": "acme",
            "owners": ["acme"],
            "licence": "MIT",
            "memory_budget_gib": 100,
            "development": "/none.jsonl",
            "discovery": {
                "name": "Ace-[0-9]+B.*",
                "exclude": ["*-gptq*"],
                "least_parameters": 10**8,
                "most_parameters": 10**11,
            },
            "members": [member],
            **changes,
        }
    )


def repo(name: str, commit: str, parameters: int | None = 10**9, **more: Any) -> Listed:
    source = name if "/" in name else f"acme/{name}"
    return Listed(source, sha(commit), parameters, more.pop("licence", "mit"), **more)


def shown(*listed: Listed, gone: tuple[str, ...] = ()) -> Listing:
    return Listing(listed, frozenset(f"acme/{name}" for name in gone))


class Known:
    """A family's registered members, look after look."""

    def __init__(self, family: Family | None = None, taken: frozenset[str] = frozenset()) -> None:
        self.family = family or acme()
        self.members: dict[str, Registered] = {}
        self.releases = 0
        self._taken = taken | {member.name for member in self.family.members}

    def look(self, listing: Listing) -> Scan:
        names = {record.name for record in self.members.values()}
        found = scan(
            self.family,
            listing,
            self.members,
            taken=self._taken | names,
            releases=self.releases,
            now=NOW,
        )
        self.members, self.releases = found.members, found.releases
        return found

    @property
    def registry(self) -> Registry:
        return Registry(id="x", releases=self.releases, families={self.family.name: self.members})


def kinds(found: Scan) -> list[tuple[str, str]]:
    return [(change.kind, change.member) for change in found.changes]
