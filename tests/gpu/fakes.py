"""GPUs and cores that no machine has, a cell that needs no files, stages that tell when they are built."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.family import Family, Member
from faq_pipeline.config.files import load_recipe
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.models.gpus import Gpu
from faq_pipeline.models.weights import Weights
from tests.tiny import RECIPE

MEMORY = 80 * 2**30


def make_gpus(*names: str) -> tuple[Gpu, ...]:
    """GPUs in the driver's order; the order of their UUIDs is another."""
    return tuple(
        Gpu(number, f"GPU-{97 - number}aaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", name, MEMORY)
        for number, name in enumerate(names)
    )


def have_cores(patch: pytest.MonkeyPatch, count: int, limit: Path = Path("/nowhere")) -> None:
    """So many CPU cores, whatever this machine has; `limit` is the file that tells a container's share."""
    patch.setattr("os.sched_getaffinity", lambda process: set(range(count)), raising=False)
    patch.setattr("faq_pipeline.models.cpu_threads.CONTAINERS_LIMIT", limit)


@cache
def make_cell(folder: Path, device: str) -> Cell:
    """A cell of member tiny-s; nothing of it is read but its recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "tiny-faq.yaml"
    recipe.write_text(RECIPE)
    member = Member(name="tiny-s", path=folder, parameters=1000)
    family = Family.model_validate(
        {"name": "tiny", "memory_budget_gib": 1, "development": "d.jsonl", "members": [member]}
    )
    return Cell(family, load_recipe(recipe), Weights(member, "a" * 20, "t" * 20), None, device)


def make_stage(name: str, gpus: int | None, build: Callable[[Build], None], *inputs: str) -> Stage:
    """A stage that takes so many GPUs, whatever the cell."""

    def built(job: Build) -> dict[str, Any]:
        build(job)
        (job.directory / "data").write_text(name)
        return {"device": job.cell.device}

    wanted = None if gpus is None else lambda cell: gpus
    return Stage(name, 1, inputs, lambda cell: {"draw": cell.recipe.draw}, built, gpus=wanted)


class Diary:
    """A file that several processes append to: who is inside with which GPUs, from when to when."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def enter(self, uuids: Iterable[str]) -> None:
        self._append("enter", uuids)

    def leave(self, uuids: Iterable[str]) -> None:
        self._append("leave", uuids)

    def stay(self, uuids: Iterable[str], seconds: float) -> None:
        uuids = list(uuids)
        self.enter(uuids)
        time.sleep(seconds)
        self.leave(uuids)

    def check(self) -> int:
        """Assert that no GPU ever had two inside; returns how many were inside in all."""
        inside: dict[str, str] = {}
        entries = 0
        for line in self.path.read_text().splitlines():
            pid, what, *uuids = line.split()
            for uuid in uuids:
                if what == "enter":
                    assert uuid not in inside, f"{pid} and {inside[uuid]} are both on {uuid}"
                    inside[uuid] = pid
                else:
                    assert inside.pop(uuid) == pid
            entries += what == "enter"
        assert not inside
        return entries

    def _append(self, what: str, uuids: Iterable[str]) -> None:
        line = f"{os.getpid()} {what} {' '.join(uuids)}\n".encode()
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line)
        os.close(file)
