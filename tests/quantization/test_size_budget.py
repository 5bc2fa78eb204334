"""The bits that fit in a size: never more than a real checkpoint of that size has, and hardly fewer."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import BitPlan
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.quantization.layers import read_tensors, weight_bytes
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.quantization.size_budget import mean_bits
from faq_pipeline.quantization.spec_check import check_spec
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.util.file_size import parse_size, written_size
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_spec


@pytest.mark.parametrize(
    ("scheme", "group_size", "bits"),
    [("W3A16", "channel", 3), ("W4A16", 64, 4), ("W4A16_ASYM", 64, 4), ("W6A16", 128, 6)],
)
def test_a_checkpoint_has_the_bits_that_fit_in_its_size(
    tmp_path: Path, scheme: str, group_size: int | str, bits: int
) -> None:
    member = Member(name="kin-2m", path=REPOSITORY / "data/models/kin-2m", parameters=2_200_000)
    weights = find_weights(member, tmp_path / "digests")
    spec = make_spec("rtn", scheme, group_size)
    quantize(spec, weights, [], tmp_path / "checkpoint", "cpu", SilentProgress())
    size = weight_bytes(tmp_path / "checkpoint")
    fitting = mean_bits(spec, BitPlan(size=f"{size}B", bits=[2, bits]), weights)
    # Less would be a promise that is not kept; more than a tenth of a bit would waste the size.
    assert bits - 0.1 < fitting <= bits


def test_a_size_that_no_bits_fit_in_is_refused_with_the_least(tiny_cell: Cell) -> None:
    spec = make_spec("gptq", plan=BitPlan(size="50kB"))
    with pytest.raises(
        FaqError, match=r"50kB is too little for 'tiny-s': with 3 bits .* take [\d.]+ kB"
    ) as caught:
        check_spec(spec, tiny_cell.target)
    assert caught.value.key == "quantization.plan.size"
    least = caught.value.problem.partition("take ")[2]
    check_spec(make_spec("gptq", plan=BitPlan(size=least)), tiny_cell.target)


def test_a_size_that_the_unquantized_model_fits_in_is_refused(tiny_cell: Cell) -> None:
    with pytest.raises(
        FaqError, match=r"5GB is more than 'tiny-s' takes unquantized in bf16: with 6 bits .* take [\d.]+ kB"
    ):
        check_spec(make_spec("gptq", plan=BitPlan(size="5GB")), tiny_cell.target)


def test_without_files_it_is_reckoned_by_the_number_of_parameters(tmp_path: Path) -> None:
    """A hub member that is not downloaded: its configuration is all that is here."""
    folder = REPOSITORY / "data/models/kin-2m"
    parameters = sum(math.prod(tensor.shape) for tensor in read_tensors(folder).values())
    shutil.copy(folder / "config.json", tmp_path)
    spec, plan = make_spec("rtn", "W4A16", 64), BitPlan(size="2MB")
    fitting = []
    for place in (folder, tmp_path):
        member = Member(name="kin-2m", path=place, parameters=parameters)
        fitting.append(mean_bits(spec, plan, Weights(member, "digest", "tokenizer")))
    assert fitting[1] == pytest.approx(fitting[0], abs=0.05)


@pytest.mark.parametrize(
    "plan", [{}, {"average_bits": 4, "size": "5GB"}, {"size": "5"}, {"size": "five GB"}, {"size": "5GX"}]
)
def test_a_plan_has_a_mean_or_a_size(plan: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BitPlan.model_validate(plan)


def test_a_size_goes_with_nothing_that_adds_weights() -> None:
    for more in ({"rotate": True}, {"compensation": {"rank": 4}}):
        with pytest.raises(ValidationError, match=r"'plan\.size' goes with neither"):
            make_spec("gptq", plan={"size": "5GB"}, **more)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("5GB", 5_000_000_000),
        ("4.5 GiB", 4_831_838_208),
        ("700 MB", 700_000_000),
        ("12kB", 12_000),
        ("9B", 9),
    ],
)
def test_sizes_are_read(text: str, count: int) -> None:
    assert parse_size(text) == count
    assert count <= parse_size(written_size(count)) <= 1.01 * count
