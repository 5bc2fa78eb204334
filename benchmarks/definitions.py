"""How long the definitions take to load with many members registered, beside with none.

    python -m benchmarks.definitions [--members 500] [--rounds 5]

Two homes are made in a temporary folder: one empty, one with a registry of discovered members, each
with two revisions, and a Dagster partition for each. In every round a process of its own per home, in
alternating order, loads `faq_pipeline.definitions` as the code server does; then it asks for the families
and resolves a discovered member, as a step does. Prints the medians and their ratio as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from faq_pipeline.registry.registry import Registered, Registry, Revision, update
from faq_pipeline.settings import REPOSITORY

FAMILY = """\
name: many
owners: [many]
memory_budget_gib: 1000
development: none.jsonl
discovery: {name: "m-[0-9]+"}
members:
  - {name: m-first, hub: many/m-first, revision: "0123456789abcdef0123456789abcdef01234567", parameters: 1}
"""
LOAD = """
import json, time
begun = time.perf_counter()
from faq_pipeline.definitions import defs
defs.get_repository_def()
loaded, computed = time.perf_counter(), time.process_time()
from faq_pipeline.settings import Settings
catalog = Settings.from_environment().catalog
members = sum(len(family.members) for family in catalog.families.values())
catalog.member("kin-4m")
took = {"definitions": loaded - begun, "definitions_cpu": computed, "families": time.perf_counter() - loaded}
print(json.dumps({**took, "members": members}))
"""
FIGURES = ("definitions", "definitions_cpu", "families")
"""Wall time to load, processor time since the process began, wall time for the families."""
REGISTER = """
import sys
import dagster as dg
from faq_pipeline.orchestration.known_partitions import known_partitions
from faq_pipeline.orchestration.partitions import MEMBERS, register
from faq_pipeline.settings import Settings
settings = Settings.from_environment()
settings.dagster_home()
with dg.DagsterInstance.get() as instance:
    known = known_partitions(settings)
    register(instance, known.members, known.cells)
    print(len(instance.get_dynamic_partitions(MEMBERS.name)))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--members", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), options.members, options.rounds), indent=1))


def measure(root: Path, members: int, rounds: int) -> dict[str, object]:
    """Medians in seconds, by home, and the ratio of the two homes."""
    (root / "data/families").mkdir(parents=True)
    (root / "data/families/many.yaml").write_text(FAMILY)
    homes = {"none": root / "none", "many": root / "many"}
    update(homes["many"] / "members.json", lambda registry: _registry(members))
    partitions = {name: int(_python(REGISTER, root, home)) for name, home in homes.items()}
    took: dict[str, list[dict[str, float]]] = {name: [] for name in homes}
    for number in range(rounds):
        for name in sorted(homes, reverse=bool(number % 2)):
            took[name].append(json.loads(_python(LOAD, root, homes[name])))
    medians = {
        name: {what: statistics.median(one[what] for one in runs) for what in FIGURES}
        for name, runs in took.items()
    }
    return {
        "partitions": partitions,
        "members": {name: runs[0]["members"] for name, runs in took.items()},
        "median_seconds": medians,
        "ratio": medians["many"]["definitions"] / medians["none"]["definitions"],
    }


def _registry(members: int) -> Registry:
    found = {}
    for number in range(members):
        commits = [hashlib.sha1(f"{number} {which}".encode()).hexdigest() for which in range(2)]
        revisions = tuple(Revision(commit=one, seen="2026-01-01", parameters=10**9) for one in commits)
        found[f"many/m-{number}"] = Registered(name=f"m-{number}", revisions=revisions, current=commits[1])
    return Registry(families={"many": found})


def _python(code: str, root: Path, home: Path) -> str:
    environment = {
        **os.environ,
        "FAQ_HOME": str(home),
        "FAQ_DATA": str(root / "data"),
        "DAGSTER_HOME": str(home / "dagster"),
    }
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    main()
