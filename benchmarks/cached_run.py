"""What a `faq run` costs when every stage is a cache hit, beside another checkout of this repository.

    git worktree add ../before bd61d0c
    python -m benchmarks.cached_run --baseline ../before [--rounds 3] [--home FOLDER]

Each checkout gets a home of its own: a copy of `--home`, or one that a first run fills (minutes). After a
run that warms up bytecode and disk caches, the checkouts take turns, `--rounds` times each. Prints the
medians of the processor time (user and system, of the whole process tree), of the wall time and of the
peak memory, and the ratio to the baseline, as JSON.

Processor time depends on the machine and on what else runs on it; the ratio much less.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.process_cost import Checkout, Cost

HERE = Path(__file__).resolve().parent.parent
RUN = ("-m", "faq_pipeline", "run", "--json")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--baseline", type=Path, required=True, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--home", type=Path, help="a filled home, which is copied")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.baseline.resolve(), options.rounds, options.home)
        print(json.dumps(found, indent=1))


def measure(scratch: Path, baseline: Path, rounds: int, home: Path | None = None) -> dict[str, Any]:
    """Medians of each checkout, and the ratio of this one's processor time to the baseline's."""
    checkouts = {
        name: Checkout(source, scratch / name) for name, source in (("baseline", baseline), ("here", HERE))
    }
    stages = {}
    for name, checkout in checkouts.items():
        if home is not None:
            shutil.copytree(home, checkout.home, symlinks=True)
        checkout.run(scratch, *RUN)
        result = json.loads(checkout.run(scratch, *RUN)[0])
        stages[name] = result["stages"]
        missed = [row["asset"] for row in result["stages"] if row["cache"] != "hit"]
        if missed:
            raise RuntimeError(f"not every stage is a hit in {checkout.source}: {', '.join(missed)}")
    costs: dict[str, list[Cost]] = {name: [] for name in checkouts}
    for _ in range(rounds):
        for name, checkout in checkouts.items():
            costs[name].append(checkout.run(scratch, *RUN)[1])
    medians = {name: Cost.median(some) for name, some in costs.items()}
    return {
        **{name: asdict(cost) | {"stages": len(stages[name])} for name, cost in medians.items()},
        "cpu_rounds": {name: [round(cost.cpu_seconds, 2) for cost in some] for name, some in costs.items()},
        "cpu_ratio": round(medians["here"].cpu_seconds / medians["baseline"].cpu_seconds, 3),
    }


if __name__ == "__main__":
    main()
