"""Cells at once through Dagster's daemon, each on a GPU of its own (or on both, where its recipe says so).

    python -m benchmarks.gpu.cells FOLDER [--members kin-2m,kin-4m] [--recipes NAMES] [--ranks] [--out FILE]

FOLDER gets a home of its own, whose instance lets two steps into the pool `gpu` and as many runs go as
there are cells. The daemon is started here, and runs are queued by `dagster job backfill`. With `--ranks`
every cell is made once more with its weights quantized on two GPUs (`quantization.ranks: 2`). Who holds
which GPU is read ten times a second from the leases; told are how long both were held by different
runs, and what each run took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from faq_pipeline.gpu.lease_folder import lease_folder
from faq_pipeline.models.gpus import installed_gpus
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.util.lock_holder import Holder

DAGSTER = [sys.executable, "-c", "from dagster._cli import main; main()"]
DAEMON = [sys.executable, "-c", "from dagster._daemon.cli import main; main()", "run"]
WORKSPACE = ["-w", str(REPOSITORY / "workspace.yaml")]
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def main() -> None:
    """Start the daemon, queue the runs, watch them, print and write."""
    options = _options()
    folder: Path = options.folder.absolute()
    os.environ |= {"FAQ_HOME": str(folder / "home"), "DAGSTER_HOME": str(folder / "home/dagster")}
    os.environ["FAQ_DATA"] = str(folder / "data")
    partitions = _prepare(folder, options)
    log = (folder / "daemon.log").open("w")
    daemon = subprocess.Popen([*DAEMON, *WORKSPACE], stdout=log, stderr=log, cwd=REPOSITORY)
    try:
        command = ["job", "backfill", *WORKSPACE, "-j", "quantize", "--noprompt"]
        subprocess.run(
            [*DAGSTER, *command, "--partitions", ",".join(partitions)],
            check=True,
            stdout=log,
            stderr=log,
            cwd=REPOSITORY,
        )
        result = _watch(len(partitions), options.limit)
    finally:
        daemon.terminate()
        daemon.wait(60)
    print(json.dumps(result), flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(set(result["runs"].values()) != {"SUCCESS"})


def _prepare(folder: Path, options: argparse.Namespace) -> list[str]:
    """The instance and the recipes; returns the cells' partitions."""
    from faq_pipeline.core.resolver import resolve_cell

    (folder / "data/recipes").mkdir(parents=True, exist_ok=True)
    recipes = options.recipes.split(",")
    for name in list(recipes) if options.ranks else ():
        ranked = Settings.from_environment().catalog.recipe(name).model_dump(mode="json", exclude_none=True)
        ranked |= {"name": f"{name}-ranks", "title": "On two GPUs", "baselines": []}
        ranked["quantization"]["ranks"] = 2
        (folder / f"data/recipes/{name}-ranks.yaml").write_text(yaml.safe_dump(ranked))
        recipes.append(f"{name}-ranks")
    settings = Settings.from_environment()
    home = folder / "home/dagster"
    home.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    cells = [
        resolve_cell(
            settings.catalog, member, settings.catalog.recipe(recipe), settings.device, settings.digests
        )
        for recipe in recipes
        for member in options.members.split(",")
    ]
    config["concurrency"]["runs"]["max_concurrent_runs"] = len(cells)
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    from faq_pipeline.orchestration.partitions import register_cells
    from faq_pipeline.orchestration.runs import open_instance  # reads the recipes that are there

    with open_instance(settings) as instance:
        register_cells(instance, [cell.partition for cell in cells])
    subprocess.run([*DAGSTER, "instance", "concurrency", "set", "gpu", "2"], check=True, capture_output=True)
    return [cell.partition for cell in cells]


def _watch(count: int, limit: float) -> dict[str, Any]:
    """Until all runs have ended."""
    from faq_pipeline.orchestration.runs import open_instance

    stays: list[dict[str, Any]] = []
    open_stays: dict[str, dict[str, Any]] = {}
    started, looked, runs = time.monotonic(), 0.0, {}
    with open_instance(Settings.from_environment()) as instance:
        while time.monotonic() - started < limit:
            now = time.monotonic() - started
            _note(now, stays, open_stays)
            if now - looked > 2:
                looked = now
                runs = {run.run_id[:8]: run.status.value for run in instance.get_runs()}
                if len(runs) >= count and set(runs.values()) <= set(ENDED):
                    break
            time.sleep(0.1)
    cells: dict[str, list[str]] = {}
    for stay in stays:
        cells.setdefault(f"{stay['run']} {stay['what'].split(' of ')[1]}", []).append(
            f"{stay['what'].split(' of ')[0]} on GPU {stay['gpu']}, {stay['from']:.0f}-{stay['to']:.0f} s"
        )
    return {
        "seconds": round(time.monotonic() - started, 1),
        "runs": runs,
        "both_held_by_different_runs": round(_both(stays), 1),
        "held": round(sum(stay["to"] - stay["from"] for stay in stays), 1),
        "cells": cells,
    }


def _note(now: float, stays: list[dict[str, Any]], open_stays: dict[str, dict[str, Any]]) -> None:
    """Take in who holds which GPU now."""
    for gpu in installed_gpus():
        holder = Holder.read(lease_folder() / f"{gpu.uuid}.json")
        known = open_stays.get(gpu.uuid)
        key = None if holder is None else (holder.pid, holder.what, holder.since)
        if known is not None and known["key"] != key:
            del open_stays[gpu.uuid]
            known = None
        if holder is not None and known is None:
            stay = {"key": key, "gpu": gpu.number, "what": holder.what, "run": holder.run[:8], "from": now}
            open_stays[gpu.uuid] = stay
            stays.append(stay)
        if gpu.uuid in open_stays:
            open_stays[gpu.uuid]["to"] = now


def _both(stays: list[dict[str, Any]]) -> float:
    """Seconds in which the GPUs were held by different runs."""
    return sum(
        max(0.0, min(a["to"], b["to"]) - max(a["from"], b["from"]))
        for index, a in enumerate(stays)
        for b in stays[index + 1 :]
        if a["gpu"] != b["gpu"] and a["run"] != b["run"]
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--members", default="kin-2m,kin-4m")
    parser.add_argument("--recipes", default="faq-gptq-w4a16")
    parser.add_argument("--ranks", action="store_true")
    parser.add_argument("--limit", type=float, default=400.0, help="seconds")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
