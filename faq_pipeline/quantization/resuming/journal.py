"""The journal of a quantization: what it made of each layer so far, on disk.

A build has one folder (`Build.unfinished`). It holds a folder for each run of the quantizer (a bit plan has
several), whose name is a hash of all that the run's bytes depend on and the build's fingerprint leaves
out. A finished step of a run is two files: `P-SSSS.safetensors`, the tensors that it changed or made, and
then `P-SSSS.json`, one line with a checksum of itself, the size and SHA-256 of the first, and figures. P is
the pass and SSSS the step within it. A step without both, or that differs from its checksums, counts as
not there.

The model of a run that goes on may have its weights in these files (`RunJournal.lend`). Nothing writes into
a file of the journal: each appears by one rename, and is deleted as a whole.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.models.processor import processor_name
from faq_pipeline.quantization.resuming.lent_files import LentFiles
from faq_pipeline.quantization.resuming.step_files import (
    mapped_tensors,
    read_line,
    size_and_digest,
    write_tensors,
)
from faq_pipeline.store import checked_json
from faq_pipeline.store.fingerprint import short_hash, tool_version
from faq_pipeline.util.atomic_files import make_folder, write_atomic
from faq_pipeline.util.files import subfolders
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    import torch

TOOLS = ("faq-pipeline", "llmcompressor", "compressed-tensors", "torch", "transformers", "safetensors")
DATA = ".safetensors"
FORM = 1
"""Raise it where what is written means something else."""


@dataclass(frozen=True)
class Recorded:
    """A finished step.

    Attributes:
        tensors: by name, those that the step changed or made.
        figures: JSON-able, of its layers.
    """

    tensors: Mapping[str, torch.Tensor]
    figures: Mapping[str, Any]


@dataclass
class Journal:
    """The journal of a build. Where its disk is full or fails, it keeps nothing more.

    Attributes:
        folder: what other versions or another kind of machine left there is deleted, and so is what was
            being written when a run was killed.
        room: bytes of its disk that it leaves free, for the checkpoint.
        failed: why nothing more is kept.
        own: runs that this process has begun.
        lent: files that models of this process have weights in.
        resumed: whether anything was taken from it that a killed run had made.
    """

    folder: Path
    progress: Progress
    room: int = 0
    failed: str = ""
    own: set[str] = field(default_factory=set)
    lent: LentFiles = field(default_factory=LentFiles)
    resumed: bool = False

    def __post_init__(self) -> None:
        self._failure_reported = False
        self._here = self.folder / short_hash(json.dumps(_surroundings(), sort_keys=True).encode())
        for folder in subfolders(self.folder):
            if folder != self._here:
                shutil.rmtree(folder, ignore_errors=True)
        for half in self._here.glob("**/.*"):
            half.unlink(missing_ok=True)

    def run(self, spec: Quantization) -> RunJournal:
        """The journal of one run of the quantizer with these settings."""
        name = short_hash(spec.model_dump_json().encode())
        begun = name in self.own
        self.own.add(name)
        return RunJournal(self, self._here / name, begun)

    def note(self, name: str, figures: Mapping[str, Any]) -> None:
        """Keep figures under a name."""
        self.write(self._here / f"{name}.json", {"figures": figures}, {})
        self.tell()

    def noted(self, name: str) -> dict[str, Any] | None:
        """The figures under a name; None where there are none, or they are damaged."""
        content = read_line(self._here / f"{name}.json")
        if content is None:
            return None
        self.resumed = True
        return content["figures"]

    def write(self, path: Path, content: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> bool:
        """Write a line of JSON, and before it the tensors that it tells of, if there are any.

        Returns:
            Whether all is on disk.
        """
        if self.failed:
            return False
        try:
            self._check_room(sum(tensor.nbytes for tensor in tensors.values()))
            data = write_tensors(path.with_suffix(DATA), tensors) if tensors else None
            write_atomic(path, checked_json.written({"data": data, **content}))
        except (OSError, SafetensorError, RuntimeError) as error:  # the last: tensors that share memory
            self.failed = str(getattr(error, "strerror", None) or error)
        return not self.failed

    def tell(self) -> None:
        """Say once, where it failed, that it did."""
        if self.failed and not self._failure_reported:
            self.progress.note(f"finished layers are not kept any more: {self.failed}")
            self._failure_reported = True

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(make_folder(self.folder)).free
        if free < size + self.room:
            needed = f"{(size + self.room) / 1e9:.1f} GB for them and the checkpoint"
            raise OSError(errno.ENOSPC, f"the disk has {free / 1e9:.1f} GB left, and they need {needed}")


@dataclass(frozen=True)
class RunJournal:
    """The journal of one run of the quantizer.

    Attributes:
        begun: whether this process has begun the same run before.
    """

    journal: Journal
    folder: Path
    begun: bool

    def sound(self, number: int, steps: int) -> set[int]:
        """The steps of a pass that are there and whole. Every file is read; one that cannot be read counts
        as not there, since its layer can be made again."""
        found = {step for step in range(steps) if self._is_sound(number, step)}
        self.journal.resumed |= bool(found) and not self.begun
        return found

    def read(self, number: int, step: int) -> Recorded:
        """A step that is `sound`."""
        content = json.loads(checked_json.checked(self._path(number, step).read_bytes())[0])
        data = self._path(number, step).with_suffix(DATA)
        return Recorded({} if content["data"] is None else mapped_tensors(data), content["figures"])

    def lend(self, number: int, step: int, take: Callable[[Mapping[str, torch.Tensor]], bool]) -> None:
        """Offer a model the tensors of a step, in the place of its own; not if they cannot be read any more.

        Args:
            take: is given them by name, and says whether the model has any of them from now on.
        """
        path = self._path(number, step)
        data = path.with_suffix(DATA)
        content = read_line(path)
        if content is None or content["data"] is None:
            return
        with suppress(OSError, SafetensorError):  # deleted by hand
            if take(mapped_tensors(data)):
                self.journal.lent.written[data] = content["data"]

    def record(self, number: int, step: int, recorded: Recorded) -> bool:
        """Keep a finished step.

        Returns:
            Whether it is on disk; if it is not, the journal has failed (`Journal.tell`).
        """
        return self.journal.write(self._path(number, step), {"figures": recorded.figures}, recorded.tensors)

    def remove(self) -> None:
        """Delete the steps: the run's result is kept in another form."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int, step: int) -> Path:
        return self.folder / f"{number}-{step:04d}.json"

    def _is_sound(self, number: int, step: int) -> bool:
        path = self._path(number, step)
        content = read_line(path)
        if content is None:
            return False
        try:
            return content["data"] is None or size_and_digest(path.with_suffix(DATA)) == content["data"]
        except OSError:
            return False


def _surroundings() -> dict[str, Any]:
    """What the bytes of a run may depend on besides the build's fingerprint and the run's settings."""
    tools = {name: tool_version(name) for name in TOOLS}
    return {"form": FORM, "processor": processor_name(), "tools": tools}
