"""An installation with one family on a stub hub, and a daemon that ticks when it is told to."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.utils import make_new_run_id

from faq_pipeline.orchestration.partitions import CELLS, MEMBERS, split
from faq_pipeline.settings import Settings
from tests.hub import HubFolder
from tests.tiny import RECIPE, TASK, make_seeds

BILLION = 10**9
SENSOR = "discover_acme"

FAMILY = """\
name: acme
owners: [acme]
memory_budget_gib: 100000
development: ../eval/test.jsonl
discovery: {{name: "Ace-[0-9]+B"}}
requantize: {{recipes: [ace-raw, ace-faq], on_release: {on_release}}}
members:
  - {{name: small, hub: acme/Ace-1B, revision: "{pin}", parameters: 1000000000}}
"""


def make_data(root: Path, pin: str, *, on_release: bool = True) -> Path:
    """A data folder with family `acme` and recipes `ace-raw` (no teacher) and `ace-faq` (teacher auto)."""
    for kind in ("families", "recipes", "seeds", "eval"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    make_seeds(root / "seeds/mixed.jsonl")
    (root / "eval/tiny_sums.yaml").write_text(TASK)
    row = {"id": "q", "question": "What is 1 + 1?", "answer": "2", "text": "Two."}
    for name in ("test", "prose"):
        (root / f"eval/{name}.jsonl").write_text(json.dumps(row) + "\n")
    faq = RECIPE.replace("tiny-faq", "ace-faq").replace("[tiny]", "[acme]")
    (root / "recipes/ace-faq.yaml").write_text(faq)
    raw = faq.replace("ace-faq", "ace-raw").replace("source: teacher", "source: original")
    (root / "recipes/ace-raw.yaml").write_text(raw)
    write_family(root, pin, on_release=on_release)
    return root


def write_family(root: Path, pin: str, *, on_release: bool) -> None:
    text = FAMILY.format(pin=pin, on_release=str(on_release).lower())
    (root / "families/acme.yaml").write_text(text)


@dataclass
class Tick:
    """What one tick gave; `kept` says whether the daemon lived to store its cursor."""

    skipped: str | None
    asked: list[dg.RunRequest]
    partitions: list[str]
    cursor: str | None

    @property
    def cells(self) -> set[str]:
        return {str(request.partition_key) for request in self.asked}


@dataclass
class Site:
    """A hub, our installation, and Dagster's storage."""

    hub: HubFolder
    data: Path
    home: Path
    instance: dg.DagsterInstance
    repository: dg.RepositoryDefinition
    cursor: str | None = None
    runs: Counter[str] = field(default_factory=Counter)
    """Runs that were created, by cell."""

    @property
    def registry(self) -> Path:
        return self.home / "members.json"

    @property
    def settings(self) -> Settings:
        return Settings.from_environment()

    def tick(self, *, launches: bool = True, keeps_cursor: bool = True, sensor: str = SENSOR) -> Tick:
        """Evaluate the sensor as the code server does, and do with it what the daemon does.

        Args:
            launches: False for a daemon that is killed right after the evaluation.
            keeps_cursor: False for one that is killed after it created the runs.
        """
        context = dg.build_sensor_context(
            instance=self.instance,
            instance_ref=self.instance.get_ref(),
            cursor=self.cursor,
            repository_def=self.repository,
            sensor_name=sensor,
        )
        data = self.repository.get_sensor_def(sensor).evaluate_tick(context)
        asked = list(data.run_requests or [])
        added = data.dynamic_partitions_requests or []
        partitions = {one.partitions_def_name: list(one.partition_keys) for one in added}
        keys = partitions.get(str(MEMBERS.name), [])
        if launches:
            for name, new in partitions.items():
                self.instance.add_dynamic_partitions(name, new)
            for request in asked:
                self._launch(request)
            if keeps_cursor:
                self.cursor = data.cursor
        return Tick(data.skip_message, asked, keys, data.cursor)

    def drain(self) -> list[Tick]:
        """Tick until a tick asks for nothing and adds nothing."""
        ticks = [self.tick()]
        while ticks[-1].asked or ticks[-1].partitions:
            ticks.append(self.tick())
        return ticks

    def cell(self, repo: str, commit: str, recipe: str) -> str:
        name = "small" if repo == "Ace-1B" else repo.lower()
        return f"{name}@{commit[:8]}|{recipe}"

    @property
    def partitions(self) -> set[str]:
        return set(self.instance.get_dynamic_partitions(str(MEMBERS.name)))

    def _launch(self, request: dg.RunRequest) -> None:
        """As the daemon does: a run key that has a run already is passed over."""
        tags = {"dagster/run_key": str(request.run_key)}
        if self.instance.get_runs(filters=dg.RunsFilter(tags=tags), limit=1):
            return
        assert split(str(request.partition_key))[0] in self.partitions
        assert request.partition_key in self.instance.get_dynamic_partitions(str(CELLS.name))
        self.runs[str(request.partition_key)] += 1
        self.instance.add_run(
            DagsterRun(
                job_name=str(request.job_name),
                run_id=make_new_run_id(),
                status=DagsterRunStatus.NOT_STARTED,
                tags={**request.tags, **tags},
            )
        )
