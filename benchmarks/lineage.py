"""What lineage costs in a large store, beside another checkout of this repository.

    git worktree add ../before bd61d0c
    python -m benchmarks.lineage --baseline ../before [--candidates 1000000] [--rounds 3] [--home FOLDER]

Fills a store through the product's own writers (`benchmarks.synthetic_store`; `--home` keeps it, and takes
one that was filled before). Each checkout rebuilds an index of its own over that store, once. Then the
checkouts take turns, `--rounds` times each: `faq lineage trace` of a seed, a candidate, a sample, a
checkpoint and a report, as commands and warm in one process; `faq status`, `faq cache ls`; a merge with
nothing new; a merge with one new artifact. Prints medians and ratios as JSON, and `load`, the number of
processes that wanted a processor (1 minute's mean) at the begin and at the end.

Processor time is the measure where other work shares the machine. Without `--baseline` this checkout alone
is measured. Disk for a million candidates: 0.5 GB, and 0.6 GB for each index.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.process_cost import Checkout, Cost
from benchmarks.synthetic_store import Filled, add_artifact, fill
from faq_pipeline.settings import REPOSITORY, Settings

HERE = Path(__file__).resolve().parent.parent
FAQ = ("-m", "faq_pipeline")
WARM = """
import json, sys, time
from pathlib import Path
try:
    from faq_pipeline.lineage.trace_queries import trace
except ImportError:  # an earlier layout
    from faq_pipeline.lineage.questions import trace
index, found = Path(sys.argv[1]), {}
for kind, id_ in json.loads(sys.argv[2]).items():
    trace(index, id_)
    begun, cpu = time.perf_counter(), time.process_time()
    trace(index, id_)
    found[kind] = [time.process_time() - cpu, time.perf_counter() - begun]
print(json.dumps(found))
"""
MERGE = """
import json, sys, time
from pathlib import Path
from faq_pipeline.lineage.index import merge
from faq_pipeline.store.store import Store
store, index = Store(Path(sys.argv[1])), Path(sys.argv[2])
begun, cpu = time.perf_counter(), time.process_time()
result = merge(store, index)
assert not result.pending and not result.problems, result
print(json.dumps([time.process_time() - cpu, time.perf_counter() - begun, result.merged]))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--baseline", type=Path, help="the other checkout")
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--home", type=Path, help="where the store is, or is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.home and options.home.parent) as folder:
        home = options.home or Path(folder) / "filled"
        filled = _filled(home.absolute(), options.candidates)
        sources = {"baseline": options.baseline and options.baseline.resolve(), "here": HERE}
        checkouts = {
            name: _checkout(source, Path(folder) / name, home.absolute())
            for name, source in sources.items()
            if source
        }
        load = os.getloadavg()[0]
        found = measure(Path(folder), checkouts, filled, options.rounds)
        print(json.dumps({**found, "load": [round(load, 1), round(os.getloadavg()[0], 1)]}, indent=1))


def measure(scratch: Path, checkouts: dict[str, Checkout], filled: Filled, rounds: int) -> dict[str, Any]:
    """Medians of each checkout by what was measured, and ratios of processor time."""
    commands = {
        **{f"faq lineage trace {kind}": ("lineage", "trace", id_) for kind, id_ in filled.ids.items()},
        "faq status": ("status",),
        "faq cache ls": ("cache", "ls"),
    }
    costs: dict[str, dict[str, list[Cost]]] = {name: defaultdict(list) for name in checkouts}
    for name, checkout in checkouts.items():
        checkout.run(scratch, *FAQ, "recipes")  # bytecode
        costs[name]["faq lineage rebuild"].append(checkout.run(scratch, *FAQ, "lineage", "rebuild")[1])
    for number in range(rounds):
        for name, checkout in checkouts.items():
            for what, arguments in commands.items():
                costs[name][what].append(checkout.run(scratch, *FAQ, *arguments)[1])
            for kind, (cpu, wall) in _warm(scratch, checkout, filled).items():
                costs[name][f"trace of a {kind}, warm"].append(Cost(cpu, wall, 0))
            _merge(scratch, checkout)
            costs[name]["merge with nothing new"].append(_merge(scratch, checkout)[0])
        add_artifact(Settings(checkouts["here"].home, (REPOSITORY / "data",), "cpu").store, number)
        for name, checkout in checkouts.items():
            cost, merged = _merge(scratch, checkout)
            if merged != 1:
                raise RuntimeError(f"{merged} artifacts entered the index of {checkout.source}, not 1")
            costs[name]["merge with one new artifact"].append(cost)
    medians = {what: {name: _median(costs[name][what]) for name in checkouts} for what in costs["here"]}
    for found in medians.values():
        if "baseline" in found:
            ratio = found["here"]["cpu_seconds"] / max(found["baseline"]["cpu_seconds"], 1e-4)
            found["cpu_ratio"] = round(ratio, 4)
    sizes = {name: one.home.joinpath("lineage.duckdb").stat().st_size for name, one in checkouts.items()}
    return {
        "candidates": filled.candidates,
        "artifacts": filled.artifacts,
        "index_mib": {name: round(size / 2**20) for name, size in sizes.items()},
        "measured": medians,
    }


def _filled(home: Path, candidates: int) -> Filled:
    note = home / "filled.json"
    if not note.exists():
        filled = fill(Settings(home, (REPOSITORY / "data",), "cpu"), candidates)
        note.write_text(json.dumps(asdict(filled)), encoding="utf-8")
    return Filled(**json.loads(note.read_text(encoding="utf-8")))


def _checkout(source: Path, home: Path, filled: Path) -> Checkout:
    """A home with an index of its own over the filled store."""
    home.mkdir()
    (home / "store").symlink_to(filled / "store")
    return Checkout(source, home)


def _warm(scratch: Path, checkout: Checkout, filled: Filled) -> dict[str, tuple[float, float]]:
    index = str(checkout.home / "lineage.duckdb")
    out, _ = checkout.run(scratch, _script(scratch, WARM), index, json.dumps(filled.ids))
    return {kind: (cpu, wall) for kind, (cpu, wall) in json.loads(out).items()}


def _merge(scratch: Path, checkout: Checkout) -> tuple[Cost, int]:
    places = str(checkout.home / "store"), str(checkout.home / "lineage.duckdb")
    out, whole = checkout.run(scratch, _script(scratch, MERGE), *places)
    cpu, wall, merged = json.loads(out)
    return Cost(cpu, wall, whole.peak_mib), merged


def _script(scratch: Path, text: str) -> str:
    """A file to run: under `python -c` DuckDB takes the process for an interactive one, and draws bars."""
    path = scratch / "script.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _median(costs: list[Cost]) -> dict[str, float]:
    """Seconds to four digits: some of these take less than a millisecond."""
    return {
        "cpu_seconds": round(statistics.median(cost.cpu_seconds for cost in costs), 4),
        "wall_seconds": round(statistics.median(cost.wall_seconds for cost in costs), 4),
        "peak_mib": round(max(cost.peak_mib for cost in costs)),
    }


if __name__ == "__main__":
    main()
