"""Worker processes that write training rows and hand them over in a fixed order."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty, Full

import numpy as np

from training.documents import Rows, block
from training.settings import family_of
from training.tokenizer import load

BLOCK_ROWS = 32
_AHEAD = 256
"""Blocks that a worker may be ahead: about 4 M tokens, so that it need not wait for the compiler."""
_NICE = 5
"""Workers give way to the process that keeps the device busy."""


def _work(worker: int, workers: int, member: str, folder: str, queue: Queue[Rows]) -> None:
    """Write blocks worker, worker + workers, ... for ever."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.nice(_NICE)
    settings = family_of(member)
    mix = settings.members[member].mix
    tokenizer = load(Path(folder))
    parent = os.getppid()
    index = worker
    while True:
        rows = block(settings, mix, tokenizer, index, BLOCK_ROWS)
        while True:
            try:
                queue.put(rows, timeout=5)
                break
            except Full:
                if os.getppid() != parent:
                    return
        index += workers


class Feed:
    """Batches of a member's training rows. Which rows come when does not depend on the workers."""

    def __init__(self, member: str, tokenizer: Path, workers: int, rows: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._rows = rows
        self._queues: list[Queue[Rows]] = []
        self._processes = []
        for worker in range(workers):
            queue: Queue[Rows] = context.Queue(maxsize=_AHEAD)
            arguments = (worker, workers, member, str(tokenizer), queue)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            self._queues.append(queue)
            self._processes.append(process)

    def _blocks(self) -> Iterator[Rows]:
        while True:
            for queue, process in zip(self._queues, self._processes, strict=True):
                while True:
                    with suppress(Empty):
                        yield queue.get(timeout=20)
                        break
                    if not process.is_alive():
                        raise RuntimeError("a worker that writes training text has died")

    def __iter__(self) -> Iterator[Rows]:
        held: Rows | None = None
        for rows in self._blocks():
            held = rows if held is None else np.concatenate([held, rows])
            while len(held) >= self._rows:
                yield held[: self._rows]
                held = held[self._rows :]

    def close(self) -> None:
        """End the workers."""
        for process in self._processes:
            process.terminate()
        for queue in self._queues:
            queue.cancel_join_thread()
            queue.close()


__all__ = ["BLOCK_ROWS", "Feed"]
