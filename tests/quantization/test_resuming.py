"""A quantization that is interrupted goes on from its journal, and takes nothing else from it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from llmcompressor.modifiers.gptq import GPTQModifier

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.quantization import layer_log, oneshot
from faq_pipeline.quantization.layer_log import LayerLog
from faq_pipeline.quantization.methods.gptq import Gptq, settings
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.quantization.resuming import journal as journals
from faq_pipeline.quantization.resuming import step_files
from faq_pipeline.quantization.resuming.journal import Journal
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_rows, make_spec

MODULES = 7
"""Quantized modules of each of the two layers."""


class Stops(SilentProgress):
    """Interrupts after so many steps; keeps what the user is told."""

    def __init__(self, steps: int = 99) -> None:
        self.left, self.notes = steps, list[str]()

    def advance(self, done: int = 1) -> None:
        self.left -= done
        if self.left == 0:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.notes.append(message)


@dataclass
class Bench:
    """Runs of one recipe, and how many modules the last one compressed."""

    cell: Cell
    folder: Path
    spec: Quantization
    compressed: int = 0
    room: int = 0

    def run(self, steps: int = 99, journal: bool = True) -> tuple[dict[str, bytes], LayerLog | None, str]:
        """Files of the checkpoint, the log, and what the user is told."""
        self.compressed, out, told = 0, self.folder / "out", Stops(steps)
        shutil.rmtree(out, ignore_errors=True)
        log = None
        kept = Journal(self.folder / "journal", told, self.room) if journal else None
        try:
            log = quantize(self.spec, self.cell.target, make_rows(), out, "cpu", told, journal=kept)
        except KeyboardInterrupt:
            assert steps < 99
        files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
        return files, log, "\n".join(told.notes)

    @property
    def data(self) -> list[Path]:
        return sorted((self.folder / "journal").rglob("*.safetensors"))


@pytest.fixture
def bench(tiny_cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    """Makes a bench for a recipe's fields; only one in a test."""

    def make(*args: Any, **fields: Any) -> Bench:
        made = Bench(tiny_cell, tmp_path, make_spec(*args, **fields))
        measure = layer_log.relative_error

        def and_count(*args: Any) -> float:
            made.compressed += 1
            return measure(*args)

        monkeypatch.setattr(layer_log, "relative_error", and_count)
        return made

    return make


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({"method": "gptq", "scheme": "W8A8", "kv_cache": "fp8", "observer": "imatrix"}, 2),
        ({"method": "awq", "scheme": "W4A16_ASYM", "group_size": 32}, 2),
        ({"method": "smoothquant", "scheme": "W8A8", "smoothing_form": "activations"}, 5),
        ({"method": "gptq", "scheme": "W4A8", "rotate": True}, 2),
        ({"method": "gptaq", "scheme": "W3A16"}, 2),
        ({"method": "gptq", "compensation": {"kind": "outlier_columns", "rank": 4}}, 2),
        ({"method": "decoupleq", "scheme": "W3A16"}, 2),
    ],
    ids=lambda value: value["method"] if isinstance(value, dict) else None,
)
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(
    fields: dict[str, Any], steps: int, bench: Callable[..., Bench]
) -> None:
    work = bench(**fields)
    expected = work.run(journal=False)
    work.run(steps)
    files, log, told = work.run()
    assert "Resuming at layer 2 of 2" in told and "1 layer from the interrupted run" in told
    assert files == expected[0] and log == expected[1]
    measured = 2 if "compensation" in fields else 1  # with the adapter too
    assert work.compressed == (0 if fields["method"] == "awq" else measured * MODULES)


def test_a_damaged_layer_is_made_again_and_the_others_are_not(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = bench("gptq", group_size=32)
    expected, _, _ = work.run(journal=False)
    work.run(3)  # all steps; nothing is saved yet
    first, last = work.data
    assert first.stat().st_mode == line(first).stat().st_mode, "as the umask has it"
    (half := first.with_name(f".{first.name}-0")).write_bytes(b"half")
    damages: dict[str, Callable[[], Any]] = {
        "a flipped bit": lambda: first.write_bytes(first.read_bytes()[:-1] + b"?"),
        "cut off": lambda: last.write_bytes(last.read_bytes()[:-5]),
        "no data": first.unlink,
        "a changed line": lambda: line(last).write_text(line(last).read_text().replace("1", "2", 1)),
        "no line": lambda: line(first).unlink(),
        "half a line": lambda: line(last).write_bytes(line(last).read_bytes()[:30]),
    }
    for name, damage in damages.items():
        damage()
        files, _, told = work.run()
        assert files == expected and work.compressed == MODULES, name
        assert f"Resuming at layer {2 if name in ('cut off', 'a changed line', 'half a line') else 1}" in told
    assert work.run()[0] == expected and work.compressed == 0
    assert not half.exists()

    def unreadable(path: Path) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(step_files, "hash_file", unreadable)
    files, _, told = work.run()
    assert files == expected and work.compressed == 2 * MODULES
    assert told == "finished layers are not kept any more: Input/output error"


def line(data: Path) -> Path:
    return data.with_suffix(".json")


def test_a_journal_of_other_settings_or_versions_is_not_used(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = bench("gptq", group_size=32)
    work.run(3)
    theirs = work.data
    work.spec = make_spec("gptq", group_size=32, dampening=0.02)
    assert "interrupted" not in work.run()[2] and work.compressed == 2 * MODULES
    monkeypatch.setattr(journals, "processor_name", lambda: "another processor")
    assert "interrupted" not in work.run()[2] and work.compressed == 2 * MODULES
    assert theirs and not any(path.exists() for path in theirs), "what is of no use is deleted"


def test_a_modifier_that_is_not_known_keeps_nothing(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Another(GPTQModifier):  # type: ignore[misc]
        """As a plugin may derive one."""

    monkeypatch.setattr(Gptq, "modifiers", lambda self, spec: [Another(**settings(spec))])
    work = bench("gptq")
    work.run(2)
    assert not work.data


@pytest.mark.parametrize("free", [0, 1_000_000])
def test_a_full_disk_costs_the_journal_and_not_the_run(
    free: int, bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no byte free nothing can be written; at a megabyte a layer leaves no room for the checkpoint."""
    work = bench("gptq")
    usage = shutil.disk_usage(work.folder)
    monkeypatch.setattr(journals.shutil, "disk_usage", lambda path: usage._replace(free=free))
    work.room = 900_000
    files, _, told = work.run()
    assert files and told.count("finished layers are not kept any more: the disk has") == 1
    assert work.compressed == 2 * MODULES and not work.data


def test_finished_layers_lie_in_the_journals_files(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After both passes of SmoothQuant. A file that changes is told of; one that is deleted is still there
    for the model."""
    work = bench("smoothquant", scheme="W8A8")
    expected, _, _ = work.run(journal=False)
    save = oneshot.save
    act: Callable[[], Any] = lambda: flip_last_bit(work.data[0])  # noqa: E731
    places: list[str] = []

    def and_look(model: Any, *args: Any) -> None:
        weights = [layer.mlp.up_proj.weight for layer in model.model.layers]
        places[:] = [mapped_file(weight) for weight in weights]
        act()
        save(model, *args)

    monkeypatch.setattr(oneshot, "save", and_look)
    with pytest.raises(FaqError, match=r"safetensors: a finished layer differs from what was written"):
        work.run()
    assert len(places) == 2 and all("/journal/" in place for place in places)
    act = lambda: shutil.rmtree(work.folder / "journal")  # noqa: E731
    files, _, told = work.run()
    assert files == expected and "1 layer from the interrupted run" in told
    assert all("/journal/" in place for place in places), "restored ones too"


def flip_last_bit(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def mapped_file(tensor: torch.Tensor) -> str:
    """The file that a tensor's memory is mapped from, "" where there is none."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, file = line.split(maxsplit=5)
        first, end = (int(address, 16) for address in span.split("-"))
        if first <= tensor.data_ptr() < end:
            return file if file.startswith("/") else ""
    return ""
