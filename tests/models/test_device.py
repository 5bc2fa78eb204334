"""Which device a run has, on which of its GPUs, and what does not fit there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.cpu_threads import usable_cores
from faq_pipeline.models.device import (
    check_device,
    choose_device,
    compute_identity,
    device_gpus,
    device_kind,
    device_of,
    torch_device,
)
from faq_pipeline.models.device_memory import check_fits, device_memory, working_bytes
from faq_pipeline.models.precision import WIDENED, has_bf16_arithmetic, precision_for
from tests.gpu.fakes import MEMORY, have_cores, make_gpus

HUGE = 10**15
Machine = Callable[..., None]


def member(name: str, parameters: int) -> Member:
    return Member.model_validate({"name": name, "path": "/nowhere", "parameters": parameters})


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes this a machine of these GPUs, with that CUDA_VISIBLE_DEVICES."""

    def become(*names: str, visible: str | None = None) -> None:
        monkeypatch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: make_gpus(*names))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return become


def numbers(device: str) -> list[int]:
    """The driver's numbers of a device's GPUs."""
    return [gpu.number for gpu in device_gpus(device)]


def test_a_device_is_chosen(machine: Machine) -> None:
    machine("H100", "H100", "H100")
    chosen = {wanted: choose_device(wanted) for wanted in ("auto", "cpu", "cuda", "cuda:1", "cuda:2,0,2")}
    assert chosen == {
        "auto": "cuda",
        "cpu": "cpu",
        "cuda": "cuda",
        "cuda:1": "cuda:1",
        "cuda:2,0,2": "cuda:0,2",
    }
    assert {device_kind(device) for device in chosen.values()} == {"cpu", "cuda"}
    machine()
    assert choose_device("auto") == "cpu" == choose_device("cpu")


@pytest.mark.parametrize("wanted", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "cuda:0,", "cpu:0", "auto:1"])
def test_what_is_no_device(wanted: str) -> None:
    for check in (check_device, choose_device):
        with pytest.raises(FaqError, match=f"unknown device '{wanted}'"):
            check(wanted)


def test_an_absent_gpu_is_a_mistake(machine: Machine) -> None:
    machine()
    for wanted in ("cuda", "cuda:0"):
        with pytest.raises(FaqError, match="no CUDA device answers here"):
            choose_device(wanted)
    machine("H100", "A100")
    with pytest.raises(FaqError, match="there is no cuda:2 here") as error:
        choose_device("cuda:0,2")
    assert error.value.hint == "there is cuda:0 (H100), cuda:1 (A100)"


def test_the_gpus_of_a_device_are_of_one_kind(machine: Machine) -> None:
    machine("H100", "A100", "H100")
    assert numbers("cuda") == [0, 2] and numbers("cuda:1") == [1]
    with pytest.raises(FaqError, match="cuda:0,1 has GPUs of several kinds: A100, H100"):
        choose_device("cuda:0,1")
    machine("H100", "A100", "H100", visible="1,0,2")
    assert numbers("cuda") == [1]
    identities = {
        device: compute_identity(member("m", 1), device) for device in ("cuda:0", "cuda:1", "cuda:2")
    }
    assert [identity["device"] for identity in identities.values()] == ["cuda:A100", "cuda:H100", "cuda:H100"]


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("0,1,2", [0, 1, 2]),
        ("2", [2]),
        (" 2 , 0 ", [2, 0]),
        ("1,7,0", [1]),
        ("-1", []),
        ("", []),
        ("0,0", []),
        ("GPU-95,GPU-97aaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", [2, 0]),
        ("GPU-9", []),  # of several
        ("MIG-0", []),
    ],
    ids=str,
)
def test_only_visible_gpus_are_used_in_their_order(machine: Machine, visible: str, seen: list[int]) -> None:
    machine("H100", "H100", "H100", visible=visible)
    assert numbers("cuda") == seen
    assert choose_device("auto") == ("cuda" if seen else "cpu")
    for place, number in enumerate(seen):
        assert numbers(f"cuda:{place}") == [number]


@given(st.data(), st.integers(1, 6))
def test_a_device_of_some_gpus_has_just_these(data: st.DataObject, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        order = data.draw(st.permutations(range(count)))
        patch.setattr("faq_pipeline.models.gpus.installed_gpus", lambda: make_gpus(*["H100"] * count))
        patch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, order)))
        some = data.draw(st.lists(st.sampled_from(device_gpus("cuda")), min_size=1, unique=True))
        device = device_of(some)
        assert set(device_gpus(device)) == set(some) and choose_device(device) == device


def test_torch_is_given_the_gpu_of_that_uuid_however_it_counts(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Properties:
        def __init__(self, uuid: str) -> None:
            self.uuid = uuid.removeprefix("GPU-")

    machine("H100", "H100")
    counted = [Properties(gpu.uuid) for gpu in reversed(make_gpus("H100", "H100"))]
    current: list[int] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(counted))
    monkeypatch.setattr("torch.cuda.get_device_properties", counted.__getitem__)
    monkeypatch.setattr("torch.cuda.set_device", current.append)
    assert torch_device("cuda:0") == torch.device("cuda", 1)
    assert torch_device("cuda:1") == torch.device("cuda", 0) and current == [1, 0]
    assert torch_device("cpu") == torch.device("cpu")
    del counted[0]
    with pytest.raises(FaqError, match=r"torch does not see cuda:1 \(H100, GPU-96"):
        torch_device("cuda:1")


def test_what_fits_is_let_through(machine: Machine) -> None:
    assert device_memory("cpu") > 2**28
    check_fits(member("small", 1000), "cpu")
    machine("H100", "H100")
    assert device_memory("cuda") == MEMORY == device_memory("cuda:1")
    check_fits(member("half", MEMORY // 4), "cuda")


def test_what_does_not_fit_names_the_alternatives() -> None:
    others = [member("middle", 2000), member("small", 1000), member("vast", HUGE)]
    with pytest.raises(FaqError) as error:
        check_fits(member("huge", HUGE), "cpu", others)
    assert error.value.problem.startswith("'huge' needs about 2328306.4 GiB and the cpu device has")
    assert error.value.hint == "these fit: middle, small"
    with pytest.raises(FaqError, match="no other member fits either"):
        check_fits(member("huge", HUGE), "cpu", others[2:])


def test_copies_must_fit_together() -> None:
    most = int(device_memory("cpu") / working_bytes(1))
    check_fits(member("one", most - 1), "cpu")
    with pytest.raises(FaqError, match="'one' and 1 more of it needs about"):
        check_fits(member("one", most - 1), "cpu", copies=2)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 fma", "float32"),
        ("fpu avx2 avx512f avx512_vnni", "float32"),
        ("fpu avx2 avx512f avx512_bf16", "bfloat16"),
        ("fpu avx2 avx512f amx_bf16 amx_tile", "bfloat16"),
        ("fp asimd bf16 i8mm", "bfloat16"),
        ("fp asimd", "float32"),
        (None, "float32"),
    ],
)
def test_the_processor_decides_the_precision_on_a_cpu(
    flags: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = tmp_path / "cpuinfo"
    if flags is not None:
        processor.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr("faq_pipeline.models.precision.PROCESSOR", processor)
    has_bf16_arithmetic.cache_clear()
    try:
        assert precision_for(member("small", 1000), "cpu") == expected
        assert precision_for(member("large", WIDENED), "cpu") == "bfloat16"
        assert precision_for(member("small", 1000), "cuda") == "bfloat16"
    finally:
        has_bf16_arithmetic.cache_clear()


def test_precision_is_declared_only_where_it_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Artifacts that were made before there was a choice keep their fingerprints."""
    small, large = member("small", 1000), member("large", WIDENED)
    before = {"device": "cpu", "threads": 1}
    monkeypatch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda: True)
    assert compute_identity(small, "cpu") == before
    monkeypatch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda: False)
    assert compute_identity(small, "cpu") == {"device": "cpu", "threads": 2, "precision": "float32"}
    assert compute_identity(small, "cpu", "bfloat16") == before
    assert "precision" not in compute_identity(large, "cpu")


def test_float32_takes_twice_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "faq_pipeline.models.device_memory.device_memory", lambda device: int(working_bytes(1000))
    )
    monkeypatch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda: True)
    check_fits(member("one", 1000), "cpu")
    monkeypatch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda: False)
    check_fits(member("half", 500), "cpu")
    with pytest.raises(FaqError, match="'one' needs about"):
        check_fits(member("one", 1000), "cpu")


def test_asking_loads_no_torch() -> None:
    code = (
        "import sys, faq_pipeline.core.resolver, faq_pipeline.execution.runner\n"
        "from faq_pipeline.models.device import choose_device; choose_device('auto')\n"
        "print(sorted({'torch', 'transformers', 'llmcompressor', 'duckdb'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", 64),
        ("800000 100000", 8),
        ("50000 100000", 1),
        ("9900000 100000", 64),
        ("", 64),
        (None, 64),
    ],
)
def test_a_container_has_its_share_of_the_cores(
    limit: str | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit is not None:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    have_cores(monkeypatch, 64, tmp_path / "cpu.max")
    assert usable_cores() == cores
