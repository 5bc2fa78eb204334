"""Runs for releases: which were asked for, which are to be asked for now, which have to wait."""

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
"""Runs that one tick asks for; one release may go beyond it by its last recipes."""
MOST_WEIGHED = 400
"""Cells that one tick looks at, more or less: it has a minute."""
MOST_WAITING = 1000
"""Cells that the cursor remembers because they cannot be yet."""
SAID = 500
"""Characters of a message in the cursor."""

RELEASE = "release"
"""Reason of the runs that are asked for here."""

Waiting = tuple[int, str]
"""A release's number and a recipe's name."""


@dataclass(frozen=True)
class Cursor:
    """What a sensor has done about releases, as short text between two ticks.

    Attributes:
        registry: id of the registry whose release numbers are meant.
        upto: releases up to this number were asked for, but for those that wait.
        waiting: cells of earlier releases that could not be, those tried last at the end.
        said: the last message about stale corpora.
    """

    registry: str
    upto: int = 0
    waiting: tuple[Waiting, ...] = ()
    said: str = ""

    @classmethod
    def read(cls, text: str | None, registry: str) -> Cursor:
        """The cursor of this registry; of another one, or of text that is none, an empty one.

        What was asked for then is not asked again either: its runs are there.
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
    """What one tick asks for.

    Attributes:
        cursor: after this tick.
        runs: run requests; `members` are their member partitions.
        reasons: why cells cannot be now, by `name@rev8|recipe`.
        left: releases that later ticks have to look at.
        forgotten: cells that wait no longer, because too many do.
    """

    cursor: Cursor
    runs: list[dg.RunRequest] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    left: int = 0
    forgotten: int = 0

    @property
    def full(self) -> bool:
        """Whether this tick asks for no more runs."""
        return len(self.runs) >= MOST_RUNS


def ask(seen: DiscoveryResult, instance: dg.DagsterInstance, cursor: Cursor) -> Asked:
    """Ask for the runs of releases that were not asked for yet: new ones first, then those that wait.

    A release whose commit is not its member's current one waits, and so does a cell that cannot be:
    without a larger teacher, say, or with a broken recipe.
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
    older = deque(one for one in cursor.waiting if one[1] in rule.recipes)
    tried: list[Waiting] = []
    while older and not asked.full and cells.weighed < MOST_WEIGHED:
        one = older.popleft()
        if not cells.settled(one, asked):
            tried.append(one)
    kept = (*older, *tried, *waiting)
    asked.forgotten = max(0, len(kept) - MOST_WAITING)
    asked.cursor = replace(
        cursor, upto=upto if queue else seen.registry.releases, waiting=kept[asked.forgotten :]
    )
    return asked


class _Cells:
    """Cells of one family's releases.

    Attributes:
        releases: source and revision by number.
        weighed: how many cells were looked at.
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

    def settled(self, one: Waiting, asked: Asked) -> bool:
        """Whether the cell needs no more asking: it is asked for now, or was before."""
        self.weighed += 1
        number, recipe = one
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
        """Whether the cell has a run as it is declared now, or as it was when it was released."""
        tags = {"dagster/partition": str(request.partition_key)}
        runs = self._instance.get_runs(filters=dg.RunsFilter(tags=tags))
        declared = request.tags[DECLARED]
        return any(run.tags.get(REASON) == RELEASE or run.tags.get(DECLARED) == declared for run in runs)
