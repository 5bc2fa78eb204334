"""Request runs for releases: which were requested, which to request now, and which must wait."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.discovery.discover import DiscoveryResult
from faq_pipeline.errors import FaqError
from faq_pipeline.orchestration.automation.requests import DECLARED, REASON, run_request
from faq_pipeline.registry.merge import pins

MOST_RUNS = 25
"""Number of runs after which a tick requests no further release; its last release may exceed it."""
MOST_WEIGHED = 400
"""Approximate number of cells that one tick examines; a tick has a time limit of one minute."""
MOST_WAITING = 1000
"""Maximum number of waiting cells in the cursor."""
SAID = 500
"""Maximum number of characters of a message in the cursor."""

RELEASE = "release"
"""The reason tag of runs requested here."""

Waiting = tuple[int, str]
"""The number of a release and the name of a recipe."""


@dataclass(frozen=True)
class Cursor:
    """The state of a sensor between two ticks, stored as short text.

    Attributes:
        registry: id of the registry that the release numbers refer to.
        upto: releases up to this number were requested, except for the waiting cells.
        waiting: cells of earlier releases that could not be made, the most recently tried last.
        said: the last message about stale corpora.
    """

    registry: str
    upto: int = 0
    waiting: tuple[Waiting, ...] = ()
    said: str = ""

    @classmethod
    def read(cls, text: str | None, registry: str) -> Cursor:
        """Read the cursor of this registry. For another registry or invalid text, the cursor is empty.

        With an empty cursor nothing is requested twice either, since the earlier runs exist.
        """
        try:
            content: Any = json.loads(text or "")
            waiting = tuple((int(release), str(recipe)) for release, recipe in content["waiting"])
            found = cls(str(content["registry"]), int(content["upto"]), waiting, str(content["said"]))
        except (ValueError, TypeError, KeyError):
            return cls(registry)
        return found if found.registry == registry else cls(registry)

    def __str__(self) -> str:
        content = {
            "registry": self.registry,
            "upto": self.upto,
            "waiting": self.waiting,
            "said": self.said[:SAID],
        }
        return json.dumps(content, separators=(",", ":"))


@dataclass
class Asked:
    """The requests of one tick.

    Attributes:
        cursor: the cursor after this tick.
        runs: run requests.
        members: the member partitions of the runs.
        reasons: why cells cannot be made now, by `name@rev8|recipe`.
        left: number of releases left for later ticks.
        forgotten: number of waiting cells that were dropped because there are too many.
    """

    cursor: Cursor
    runs: list[dg.RunRequest] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    left: int = 0
    forgotten: int = 0

    @property
    def full(self) -> bool:
        """Whether this tick has reached its limit of runs."""
        return len(self.runs) >= MOST_RUNS


def ask(seen: DiscoveryResult, instance: dg.DagsterInstance, cursor: Cursor) -> Asked:
    """Request the runs of releases that were not requested yet: new releases first, then waiting cells.

    A release waits if its commit is not the current one of its member. A cell waits if it cannot be
    made, for example without a larger teacher or with a broken recipe.
    """
    rule = seen.settings.catalog.families[seen.family].requantize
    if rule is None or not rule.on_release:
        return Asked(replace(cursor, upto=seen.registry.releases, waiting=()))
    asked, cells = Asked(cursor), _Cells(seen, instance)
    queue = deque(sorted(number for number in cells.releases if number > cursor.upto))
    waiting: list[Waiting] = []
    upto = cursor.upto
    while queue and not asked.full and cells.weighed < MOST_WEIGHED:
        upto = queue.popleft()
        waiting += [(upto, recipe) for recipe in rule.recipes if not cells.settled((upto, recipe), asked)]
    asked.left = len(queue)
    older = deque(waiter for waiter in cursor.waiting if waiter[1] in rule.recipes)
    tried: list[Waiting] = []
    while older and not asked.full and cells.weighed < MOST_WEIGHED:
        waiter = older.popleft()
        if not cells.settled(waiter, asked):
            tried.append(waiter)
    kept = (*older, *tried, *waiting)
    asked.forgotten = max(0, len(kept) - MOST_WAITING)
    asked.cursor = replace(
        cursor, upto=upto if queue else seen.registry.releases, waiting=kept[asked.forgotten :]
    )
    return asked


class _Cells:
    """The cells of one family's releases.

    Attributes:
        releases: source and commit of each release, by number.
        weighed: number of cells examined.
    """

    def __init__(self, seen: DiscoveryResult, instance: dg.DagsterInstance) -> None:
        self._settings, self._instance = seen.settings, instance
        self._registered = seen.registry.of(seen.family)
        family = seen.settings.catalog.families[seen.family]
        self._names = {source: m.name for source, m in pins(family, self._registered).items()}
        self.weighed = 0
        self.releases = {
            revision.release: (source, revision.commit)
            for source, record in self._registered.items()
            for revision in record.revisions
            if revision.release is not None
        }

    def settled(self, waiter: Waiting, asked: Asked) -> bool:
        """Request the cell's run unless that was done before; False if the cell must wait."""
        self.weighed += 1
        number, recipe = waiter
        if number not in self.releases:
            return True
        source, commit = self.releases[number]
        record = self._registered[source]
        name = self._names.get(source)
        if name is None or record.current != commit:
            asked.reasons[f"{name or record.name}@{commit[:8]}|{recipe}"] = "not a current revision"
            return False
        try:
            cell = self._cell(f"{name}@{commit[:8]}", recipe)
            request = run_request(cell, RELEASE)
        except FaqError as error:
            asked.reasons[f"{name}@{commit[:8]}|{recipe}"] = str(error)
            return False
        if not self._known(request):
            asked.runs.append(request)
            asked.members.append(cell.target.partition)
        return True

    def _cell(self, member: str, recipe: str) -> Cell:
        catalog = self._settings.catalog
        found = catalog.recipe(recipe)
        return resolve_cell(catalog, member, found, self._settings.device, self._settings.digests)

    def _known(self, request: dg.RunRequest) -> bool:
        """Whether the cell already has a run as declared now, or a run for its release."""
        tags = {"dagster/partition": str(request.partition_key)}
        runs = self._instance.get_runs(filters=dg.RunsFilter(tags=tags))
        declared = request.tags[DECLARED]
        return any(run.tags.get(REASON) == RELEASE or run.tags.get(DECLARED) == declared for run in runs)
