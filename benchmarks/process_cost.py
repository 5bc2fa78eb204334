"""What a command of a checkout costs: processor time, wall time and peak memory of its process tree."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

UNSET = ("DAGSTER_HOME", "FAQ_DATA", "FAQ_DEVICE", "PYTHONDONTWRITEBYTECODE")
"""Variables that would change what is measured."""


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds of processor and wall time, and the peak memory of its largest process."""

    cpu_seconds: float
    wall_seconds: float
    peak_mib: float

    @classmethod
    def median(cls, costs: Sequence[Cost]) -> Cost:
        """The median of each figure, rounded."""
        return cls(
            round(statistics.median(cost.cpu_seconds for cost in costs), 2),
            round(statistics.median(cost.wall_seconds for cost in costs), 2),
            round(statistics.median(cost.peak_mib for cost in costs)),
        )


@dataclass(frozen=True)
class Checkout:
    """A version of the code with a home of its own."""

    source: Path
    home: Path

    def run(self, scratch: Path, *arguments: str) -> tuple[str, Cost]:
        """What Python prints when it is run with these arguments, and what that cost.

        Args:
            scratch: where output and bytecode go.

        Raises:
            RuntimeError: it failed.
        """
        environment = {
            **{name: value for name, value in os.environ.items() if name not in UNSET},
            "FAQ_HOME": str(self.home),
            "PYTHONPATH": str(self.source),
            "PYTHONPYCACHEPREFIX": str(scratch / "bytecode"),
        }
        begun = time.perf_counter()
        with (scratch / "out").open("w") as out, (scratch / "err").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, *arguments], env=environment, cwd=self.source, stdout=out, stderr=err
            )
            _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told = (scratch / "err").read_text()[-2000:]
            raise RuntimeError(f"{' '.join(arguments)[:200]} failed in {self.source}: {told}")
        cost = Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024)
        return (scratch / "out").read_text(), cost
