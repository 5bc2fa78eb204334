from __future__ import annotations

import json
import math
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from faq_pipeline.config.family import Member
from faq_pipeline.config.recipe import Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.quantization.spec_check import check_spec
from tests.quantization.conftest import make_spec


def weights_of(folder: Path, columns: dict[str, int]) -> Weights:
    folder.mkdir(exist_ok=True)
    tensors = {f"{name}.weight": np.zeros((2, count), np.float16) for name, count in columns.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return Weights(Member(name="m", path=folder, parameters=1), "d", "t")


def refusal(spec: Quantization, weights: Weights) -> str:
    """What `check_spec` has against it; empty where it has nothing."""
    try:
        check_spec(spec, weights)
    except FaqError as error:
        return error.problem
    return ""


@pytest.mark.parametrize("group", ["channel", 32, 64, 128])
def test_what_divides_passes(group: object, tiny_cell: Cell) -> None:
    assert refusal(make_spec("gptq", "W4A16", group), tiny_cell.target) == ""


def test_a_group_size_that_does_not_divide_names_module_columns_and_mend(tiny_cell: Cell) -> None:
    with pytest.raises(FaqError) as caught:
        check_spec(make_spec("gptq", "W4A16", 96), tiny_cell.target)
    assert "96" in caught.value.problem and "columns of model.layers.0." in caught.value.problem
    assert "128, 64, 32, 16, channel" in caught.value.hint


def test_a_group_larger_than_the_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FaqError, match="64 columns of a"):
        check_spec(make_spec("rtn", group_size=128), weights_of(tmp_path, {"a": 64}))


@settings(max_examples=40)
@given(
    columns=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 40).map(lambda n: 16 * n), min_size=1),
    size=st.integers(1, 300),
)
def test_group_sizes_are_refused_exactly_where_they_do_not_divide(
    columns: dict[str, int], size: int, tmp_path: Path
) -> None:
    weights = weights_of(tmp_path, columns)
    if math.gcd(*columns.values()) % size == 0:
        assert refusal(make_spec("rtn", group_size=size), weights) == ""
        return
    with pytest.raises(FaqError) as caught:
        check_spec(make_spec("rtn", group_size=size), weights)
    suggested = re.findall(r"\d+", caught.value.hint)
    assert suggested
    for group in suggested:
        assert refusal(make_spec("rtn", group_size=int(group)), weights) == ""


def test_ignored_layers_and_embeddings_need_not_divide(tmp_path: Path) -> None:
    columns = {"model.embed_tokens": 50, "lm_head": 50, "model.odd.gate": 7, "model.fine": 64}
    weights = weights_of(tmp_path, columns)
    assert refusal(make_spec("rtn", group_size=32, ignore=["lm_head", "re:.*gate$"]), weights) == ""
    assert "50 columns of lm_head" in refusal(make_spec("rtn", group_size=32, ignore=["re:.*gate$"]), weights)
    assert "7 columns of model.odd.gate" in refusal(make_spec("rtn", group_size=32), weights)


def test_nothing_left_to_quantize_is_refused(tiny_cell: Cell) -> None:
    with pytest.raises(FaqError, match="no layer"):
        check_spec(make_spec("rtn", ignore=["re:.*"]), tiny_cell.target)


def test_a_broken_pattern_is_refused(tiny_cell: Cell) -> None:
    with pytest.raises(FaqError, match="not a regular expression"):
        check_spec(make_spec("rtn", ignore=["re:("]), tiny_cell.target)


def test_an_unknown_scheme_names_near_and_known_ones(tiny_cell: Cell) -> None:
    with pytest.raises(FaqError) as caught:
        check_spec(make_spec("rtn", "w4a16"), tiny_cell.target)
    assert "did you mean 'W4A16'" in caught.value.hint and "W8A8" in caught.value.hint


def test_a_target_that_is_quantized_already_is_refused(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, {"a": 64})
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {}}))
    with pytest.raises(FaqError, match="quantized already"):
        check_spec(make_spec("rtn"), weights)


def test_a_hub_member_that_is_not_here_is_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(str(address)))
    member = Member(name="m", hub="nobody/nothing", revision="0" * 40, parameters=1)
    assert refusal(make_spec("rtn", group_size=7), Weights(member, "d", "t")) == "" and not asked
    assert "unknown scheme" in refusal(make_spec("rtn", "W4", group_size=7), Weights(member, "d", "t"))
    assert "7 does not divide" in refusal(make_spec("rtn", group_size=7), weights_of(tmp_path, {"a": 64}))


def test_the_schemes_are_the_presets_of_compressed_tensors() -> None:
    """With zero points at any width. The 8-bit MX formats are left out: nobody asked for them."""
    from compressed_tensors.quantization.quant_scheme import PRESET_SCHEMES

    left_out = {"UNQUANTIZED", "INT8", "MXFP8", "MXFP8A16"}
    asymmetric = {f"W{bits}A16_ASYM" for bits in range(2, 9)}
    assert set(SCHEMES) == set(PRESET_SCHEMES) - left_out | asymmetric


@pytest.mark.parametrize("name", list(SCHEMES))
def test_what_a_scheme_says_of_itself_is_what_it_builds(name: str) -> None:
    from compressed_tensors.quantization.quant_args import DynamicType

    scheme = SCHEMES.find(name)
    built = scheme.build()
    weights, activations = built.weights, built.input_activations
    assert weights is not None
    assert (scheme.weight_bits, scheme.float_weights) == (weights.num_bits, weights.type == "float")
    assert scheme.activation_bits == (activations.num_bits if activations else 16)
    static = activations is not None and activations.dynamic in (False, DynamicType.LOCAL)
    assert scheme.calibrated == static
    assert weights.symmetric == (not name.endswith("_ASYM"))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"scheme": "W4A16", "group_size": None}, "'W4A16' needs a group_size"),
        ({"scheme": "NVFP4", "group_size": 16}, "groups of 'NVFP4' are fixed"),
        (
            {"scheme": "FP8", "group_size": None, "observer": "mse"},
            "observer 'mse' searches",
        ),
    ],
)
def test_groups_are_chosen_for_integers_and_fixed_for_floats(
    fields: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    assert problem in refusal(make_spec("rtn", **fields), weights_of(tmp_path, {"a": 64}))
