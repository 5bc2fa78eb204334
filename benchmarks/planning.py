"""How long a tick of the schedule plans: many members x 4 recipes, of whose cells a third each is complete,
stale and missing.

    python -m benchmarks.planning [--members 500]

Members are hard links to kin-2m under names of their own, and stages write what they declare instead of
working, so that files, artifacts and uses are as many and as large as real ones but for tensors.
Everything is written to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from ruamel.yaml import YAML

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import materialize
from faq_pipeline.lineage.uses import cell_licences, cell_setting, record_use
from faq_pipeline.planning.cell_plan import cell_plan
from faq_pipeline.planning.tick_plan import plan_tick
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.util.memoize import memoizing

BASE = "faq-gptq-w3a16"
SCHEMES = ("W3A16", "W4A16", "W8A16", "W4A16_ASYM")


def main() -> None:
    """Make the catalog and the store, plan, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=500)
    count = parser.parse_args().members
    with TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        _write_family(data, count)
        for scheme in SCHEMES:
            _write_recipe(data, scheme)
        settings = Settings(Path(folder) / "home", (data,), "cpu")
        _fill(settings)
        for number in range(0, len(SCHEMES), 2):  # every other recipe changes: its cells become stale
            _write_recipe(data, SCHEMES[number], dampening=0.02)
        for _ in range(2):
            settings = Settings(Path(folder) / "home", (data,), "cpu")
            started, before = time.perf_counter(), psutil.Process().cpu_times()
            plan = plan_tick(settings, settings.catalog.families["many"], lambda cells: {})
            took, after = time.perf_counter() - started, psutil.Process().cpu_times()
            computed = after.user + after.system - before.user - before.system
            print(
                f"{count} members x {len(SCHEMES)} recipes: {plan.fresh} fresh, {len(plan.choices)} wanted,"
                f" {len(plan.chosen)} chosen, {took:.1f} s ({computed:.1f} s of CPU)"
            )


def _write_family(data: Path, count: int) -> None:
    kin = Catalog((REPOSITORY / "data",)).families["kin"]
    members = [_member(data, "many-teacher", "kin-8m")]
    members += [_member(data, f"many-{number:03}", "kin-2m") for number in range(count)]
    family = {
        **json.loads(kin.model_dump_json(include={"memory_budget_gib", "development", "thinking"})),
        "name": "many",
        "requantize": {"recipes": [_name(scheme) for scheme in SCHEMES], "max_gpu_hours": 24},
        "members": members,
    }
    _dump(data / "families/many.yaml", family)


def _member(data: Path, name: str, like: str) -> dict[str, Any]:
    folder = data / "models" / name
    folder.mkdir(parents=True)
    for path in (REPOSITORY / "data/models" / like).iterdir():
        if path.name == "config.json":  # a byte of its own, so that it has a digest of its own
            (folder / path.name).write_text(path.read_text() + f"\n{' ' * (int(name[-3:], 36) % 997)}")
        else:
            os.link(path, folder / path.name)
    parameters = 7_918_336 if like == "kin-8m" else 2_197_632
    return {"name": name, "path": str(folder), "parameters": parameters, "licence": "Apache-2.0"}


def _write_recipe(data: Path, scheme: str, **quantization: Any) -> None:
    base = json.loads(Catalog((REPOSITORY / "data",)).recipe(BASE).model_dump_json(exclude_none=True))
    base |= {"name": _name(scheme), "families": ["many"], "baselines": []}
    base["quantization"] |= {"scheme": scheme, **quantization}
    _dump(data / f"recipes/{_name(scheme)}.yaml", base)


def _name(scheme: str) -> str:
    return f"many-{scheme.lower()}"


def _dump(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(content, file)


def _fill(settings: Settings) -> None:
    """Make the cells of two thirds of the members."""
    members = settings.catalog.families["many"].members
    stages = {name: _declared(stage) for name, stage in STAGES.items()}
    with memoizing():
        for number, member in enumerate(members):
            for scheme in SCHEMES:
                cell = cell_plan(settings, member.name, _name(scheme)).cell
                if cell is not None and number % 3:
                    _make(settings, cell, stages)


def _make(settings: Settings, cell: Cell, stages: dict[str, Stage]) -> None:
    for name in stages:
        made = materialize(name, cell, stages, settings.store).artifact.fingerprint
        record_use(settings.store, cell.partition, name, made, cell_licences(cell), cell_setting(cell))


def _declared(stage: Stage) -> Stage:
    def build(work: Build) -> dict[str, Any]:
        content = [stage.identity(work.cell), {name: one.digest for name, one in work.inputs.items()}]
        (work.directory / "declared.json").write_text(json.dumps(content, sort_keys=True))
        return {}

    return replace(stage, build=build)


if __name__ == "__main__":
    main()
