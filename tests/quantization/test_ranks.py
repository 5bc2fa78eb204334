"""Two ranks on a CPU, which talk over gloo: real processes and the real quantizer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models import gpus
from faq_pipeline.models.precision import has_bf16_arithmetic
from faq_pipeline.quantization import ranks
from faq_pipeline.quantization.spec_check import check_ranks, check_spec
from faq_pipeline.quantization.stage import QUANTIZED_CHECKPOINT
from tests.gpu.fakes import make_gpus
from tests.noting import Noting
from tests.quantization.conftest import Make, make_rows, make_spec
from tests.quantization.test_stage import with_quantization

REPOSITORY = Path(__file__).parents[2]
SPEC: dict[str, Any] = {"method": "gptq", "scheme": "W4A16", "group_size": 64, "dampening": 0.1}


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def ranks_below(process: psutil.Process) -> list[psutil.Process]:
    children = process.children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def different(a: Path, b: Path) -> float:
    """Share of the integer weights that are not the same."""
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

    one, other, total, unequal = tensors(a), tensors(b), 0, 0
    assert one.keys() == other.keys()
    for name in (name for name in one if name.endswith("weight_packed")):
        shape = one[name.replace("packed", "shape")].tolist()
        pair = [unpack_from_int32(of[name], 4, shape) for of in (one, other)]
        total, unequal = total + pair[0].numel(), unequal + int((pair[0] != pair[1]).sum())
    return unequal / total


@pytest.fixture(autouse=True, scope="module")
def own_arithmetic(bf16_arithmetic: None) -> Iterator[None]:
    """The processes of ranks compute as the processor does, so this one must here, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", has_bf16_arithmetic)
        yield


@pytest.fixture(scope="module")
def seven_rows(make_checkpoint: Make) -> Path:
    """The checkpoint of two ranks, of which one has a row more than the other."""
    return make_checkpoint(rows=make_rows(7), **SPEC, ranks=2)


def test_two_ranks_round_as_one_process_does(make_checkpoint: Make, seven_rows: Path) -> None:
    """But for a few weights near the middle between two steps: sums over rows have another order."""
    rows = make_rows(7)
    alone, half = make_checkpoint(rows=rows, **SPEC), make_checkpoint(rows=rows[:4], **SPEC)
    assert {path.name for path in seven_rows.iterdir()} == {path.name for path in alone.iterdir()}
    assert different(alone, seven_rows) < 0.01
    assert different(alone, half) > 5 * different(alone, seven_rows)  # so all rows were counted


@pytest.mark.slow
def test_their_bytes_repeat(make_checkpoint: Make, seven_rows: Path) -> None:
    second = make_checkpoint(rows=make_rows(7), **SPEC, ranks=2)
    for path in seven_rows.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


@pytest.mark.slow
def test_weights_of_samples_stay_with_their_rows(make_checkpoint: Make) -> None:
    rows = [row[: 24 + 8 * index] for index, row in enumerate(make_rows(5))]
    weighed = {**SPEC, "sample_weights": "equal_sequences"}
    alone, together = make_checkpoint(rows=rows, **weighed), make_checkpoint(rows=rows, **weighed, ranks=2)
    assert different(alone, together) < 0.01 < different(make_checkpoint(rows=rows, **SPEC), together)


def test_the_number_of_ranks_enters_the_identity_where_it_is_set(tiny_cell: Cell) -> None:
    two = with_quantization(tiny_cell, ranks=2)
    assert "ranks" not in QUANTIZED_CHECKPOINT.identity(tiny_cell)["quantization"]
    assert QUANTIZED_CHECKPOINT.identity(two)["quantization"]["ranks"] == 2
    assert QUANTIZED_CHECKPOINT.gpus is not None
    assert [QUANTIZED_CHECKPOINT.gpus(cell) for cell in (tiny_cell, two)] == [1, 2]


def test_what_cannot_be_shared_is_refused(tiny_cell: Cell, tmp_path: Path) -> None:
    with pytest.raises(FaqError, match="'awq' has no ranks"):
        check_spec(make_spec("awq", ranks=2), tiny_cell.target)
    spec = make_spec("gptq", ranks=2)
    with pytest.raises(FaqError, match="has 1 rows, fewer than"):
        ranks.quantize_on_ranks(spec, tiny_cell.target, make_rows(1), tmp_path, "cpu", Noting())


def test_more_ranks_than_gpus_are_refused_before_work_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "installed_gpus", lambda: make_gpus("Fake", "Fake"))
    check_ranks(make_spec("gptq", ranks=2), "cuda")
    with pytest.raises(FaqError, match=r"ranks is 2, and cuda:0 has 1 GPU \("):
        check_ranks(make_spec("gptq", ranks=2), "cuda:0")
    with pytest.raises(FaqError, match=r"ranks is 3, and cuda has 2 GPUs \("):
        check_ranks(make_spec("gptq", ranks=3), "cuda")
    check_ranks(make_spec("gptq", ranks=3), "cpu")


def test_a_mistake_of_a_rank_is_told_as_one(tiny_cell: Cell, tmp_path: Path) -> None:
    """And the other rank, which waits for it, is ended."""
    from dataclasses import replace

    broken = replace(tiny_cell.target, member=tiny_cell.target.member.model_copy(update={"path": tmp_path}))
    with pytest.raises(FaqError, match=r"config\.json"):
        ranks.quantize_on_ranks(make_spec("gptq", ranks=2), broken, make_rows(), tmp_path, "cpu", Noting())
    assert not ranks_below(psutil.Process())


KILLED = """
import sys
from pathlib import Path
from faq_pipeline.config.family import Member
from faq_pipeline.models.weights import Weights
from faq_pipeline.util.progress import SilentProgress
from faq_pipeline.quantization.ranks import quantize_on_ranks
from tests.quantization.conftest import make_rows, make_spec

if __name__ == "__main__":
    weights = Weights(Member(name="tiny", path=Path(sys.argv[1]), parameters=1), "", "")
    spec, folder = make_spec("gptq", ranks=2), Path(sys.argv[2])
    quantize_on_ranks(spec, weights, make_rows(400), folder, "cpu", SilentProgress())
"""


def test_no_rank_outlives_the_process_that_started_it(tiny_cell: Cell, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(tiny_cell.target.folder), str(tmp_path / "out")]
    parent = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    family: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(family) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
        family = ranks_below(psutil.Process(parent.pid))
    assert len(family) == 2
    time.sleep(2)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    # One that has ended stays as a zombie until process 1 takes note of it, which may be long.
    _, there = psutil.wait_procs(family, timeout=20)
    assert not [one for one in there if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
