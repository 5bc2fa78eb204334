"""A process that takes GPUs as it is told on its standard input, and says what became of it.

It answers each line with lines of its own:

    world FOLDER VISIBLE           where the diary and the leases are, and CUDA_VISIBLE_DEVICES: as many
                                   GPUs of one kind are there                        -> `ready`
    stay DEVICE COUNT DELAY HOLD   waits DELAY seconds, takes GPUs, stays for HOLD   -> `done DEVICE`
    hold DEVICE COUNT              takes GPUs and keeps them                         -> `held DEVICE`
    start HOW                      starts a child that outlives us, while it holds   -> `started PID`
    patience SECONDS               tells that often for whom it waits               -> `patient`
    give back                      gives back what it holds                          -> `given back`
    materialize STORE DRAW DEVICE  the artifacts of toy stages, two of them on a GPU -> `done CACHES`

and with `note ...` where a listener to its progress would read something.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from faq_pipeline.core.stage import Build
from faq_pipeline.execution.runner import materialize
from faq_pipeline.gpu import lease
from faq_pipeline.gpu.placement import GpuPlacement
from faq_pipeline.inference.server.supervised_process import SupervisedProcess
from faq_pipeline.models import gpus
from faq_pipeline.models.device import device_gpus
from faq_pipeline.store.store import Store
from faq_pipeline.util.progress import SilentProgress
from tests.gpu.fakes import Diary, make_cell, make_gpus, make_stage

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""


def say(text: str) -> None:
    print(text, flush=True)


class Aloud(SilentProgress):
    def note(self, message: str) -> None:
        say(f"note {message}")


class Racer:
    folder: Path
    diary: Diary
    placed: GpuPlacement | None = None

    def world(self, folder: str, visible: str) -> None:
        self.folder = Path(folder)
        self.diary = Diary(self.folder / "diary")
        os.environ |= {"FAQ_LEASES": f"{folder}/leases", "CUDA_VISIBLE_DEVICES": visible}
        there = make_gpus(*["Fake"] * len(visible.split(",")))
        gpus.installed_gpus = lambda: there  # type: ignore[assignment]
        gpus.free_memory = self.free_memory  # type: ignore[assignment]
        say("ready")

    def free_memory(self, gpu: gpus.Gpu) -> int | None:
        """GiB, as the test has written them."""
        told = self.folder / "free"
        return int(told.read_text()) * 2**30 if told.exists() else None

    def place(self, device: str, count: str) -> GpuPlacement:
        stage = make_stage("quantized_checkpoint", int(count), lambda job: None)
        return GpuPlacement(stage, make_cell(self.folder / str(os.getpid()), device), Aloud(), "1a2b3c4d5e6f")

    def stay(self, device: str, count: str, delay: str, hold: str) -> None:
        time.sleep(float(delay))
        with self.place(device, count) as placed:
            self.diary.stay((gpu.uuid for gpu in device_gpus(placed.cell.device)), float(hold))
        say(f"done {placed.cell.device}")

    def hold(self, device: str, count: str) -> None:
        self.placed = self.place(device, count)
        self.placed.__enter__()
        say(f"held {self.placed.cell.device}")

    def give(self, _: str) -> None:
        placed, self.placed = self.placed, None
        if placed is not None:
            placed.__exit__(None, None, None)
        say("given back")

    def patience(self, seconds: str) -> None:
        lease.TELL = float(seconds)
        say("patient")

    def start(self, how: str) -> None:
        if how == "fork":
            pid = os.fork()
            if not pid:
                while True:
                    time.sleep(600)
        elif how == "exec":
            pid = subprocess.Popen(["sleep", "600"]).pid
        else:
            log = self.folder / f"{os.getpid()}.log"
            SupervisedProcess([sys.executable, "-c", STUBBORN], os.environ, self.folder, log, grace=600)
            while not log.read_text().endswith("\n"):
                time.sleep(0.01)
            pid = int(log.read_text())
        say(f"started {pid}")

    def materialize(self, store: str, draw: str, device: str) -> None:
        def build(job: Build) -> None:
            self.diary.stay((gpu.uuid for gpu in device_gpus(job.cell.device)), 0.002)

        stages = [
            make_stage("seeds", None, lambda job: None),
            make_stage("corpus", 1, build, "seeds"),
            make_stage("checkpoint", 1, build, "corpus"),
        ]
        cell = make_cell(self.folder / str(os.getpid()), device)
        cell = cell.with_recipe(cell.recipe.model_copy(update={"draw": int(draw)}))
        named = {stage.name: stage for stage in stages}
        made = [materialize(name, cell, named, Store(Path(store)), Aloud()) for name in named]
        say(f"done {' '.join(one.cache for one in made)}")


if __name__ == "__main__":
    lease.PAUSE = 0.002
    racer = Racer()
    for line in sys.stdin:
        verb, *arguments = line.split()
        getattr(racer, verb)(*arguments)
