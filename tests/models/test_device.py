"""A member too big for the device is refused before it is loaded, with what would fit."""

from __future__ import annotations

import subprocess
import sys

import pytest

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import (
    check_fits,
    choose_device,
    device_memory,
    gpu_name,
)

HUGE = 10**15


def member(name: str, parameters: int) -> Member:
    return Member.model_validate({"name": name, "path": "/nowhere", "parameters": parameters})


def test_a_device_is_chosen() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cpu" if gpu_name() is None else "cuda")
    with pytest.raises(FaqError, match="unknown device 'gpu'"):
        choose_device("gpu")


@pytest.mark.skipif(gpu_name() is not None, reason="a GPU is here")
def test_an_absent_gpu_is_a_mistake() -> None:
    with pytest.raises(FaqError, match="no CUDA device answers here"):
        choose_device("cuda")


def test_what_fits_is_let_through() -> None:
    assert device_memory("cpu") > 2**28
    check_fits(member("small", 1000), "cpu")


def test_what_does_not_fit_names_the_alternatives() -> None:
    others = [member("middle", 2000), member("small", 1000), member("vast", HUGE)]
    with pytest.raises(FaqError) as error:
        check_fits(member("huge", HUGE), "cpu", others)
    assert error.value.problem.startswith("'huge' needs about 2328306.4 GiB and the cpu device has")
    assert error.value.mend == "these fit: middle, small"
    with pytest.raises(FaqError, match="no other member fits either"):
        check_fits(member("huge", HUGE), "cpu", others[2:])


def test_asking_loads_no_torch() -> None:
    code = (
        "import sys, faq_pipeline.resolve, faq_pipeline.runner\n"
        "from faq_pipeline.models.device import choose_device; choose_device('auto')\n"
        "print(sorted({'torch', 'transformers', 'llmcompressor', 'duckdb'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
