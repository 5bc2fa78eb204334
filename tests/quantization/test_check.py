from __future__ import annotations

import json
import math
import re
import socket
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import BitPlan, Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.quantization.spec_check import check_spec
from tests.quantization.conftest import make_spec


def weights_of(folder: Path, hidden: int = 64, intermediate: int = 128, **more: object) -> Weights:
    """A Llama of which there is the configuration alone; columns of its layers are one of the two sizes."""
    folder.mkdir(exist_ok=True)
    config = {
        "model_type": "llama",
        "vocab_size": 32,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "head_dim": hidden,
        **more,
    }
    (folder / "config.json").write_text(json.dumps(config))
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
    with pytest.raises(FaqError, match=r"64 columns of model\.layers\.0\.self_attn\.q_proj"):
        check_spec(make_spec("rtn", group_size=128), weights_of(tmp_path))


SIZES = st.integers(1, 40).map(lambda n: 16 * n)


@settings(max_examples=40)
@given(hidden=SIZES, intermediate=SIZES, size=st.integers(1, 300))
def test_group_sizes_are_refused_exactly_where_they_do_not_divide(
    hidden: int, intermediate: int, size: int, tmp_path: Path
) -> None:
    weights = weights_of(tmp_path, hidden, intermediate)
    if math.gcd(hidden, intermediate) % size == 0:
        assert refusal(make_spec("rtn", group_size=size), weights) == ""
        return
    with pytest.raises(FaqError) as caught:
        check_spec(make_spec("rtn", group_size=size), weights)
    suggested = re.findall(r"\d+", caught.value.hint)
    assert suggested
    for group in suggested:
        assert refusal(make_spec("rtn", group_size=int(group)), weights) == ""


def line_to_add(refused: FaqError) -> list[str]:
    """What the hint says of `ignore`."""
    ignore = yaml.safe_load(refused.hint[refused.hint.index("ignore:") :])["ignore"]
    assert isinstance(ignore, list)
    return ignore


def test_ignored_layers_and_embeddings_need_not_divide(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, 64, 48)
    with pytest.raises(FaqError, match=r"48 columns of model\.layers\.0\.mlp\.down_proj") as caught:
        check_spec(make_spec("rtn", group_size=32), weights)
    ignore = line_to_add(caught.value)
    assert refusal(make_spec("rtn", group_size=32, ignore=ignore), weights) == ""
    assert "64 columns of" in refusal(make_spec("rtn", group_size=128, ignore=ignore), weights)


def test_the_head_counts_where_it_is_not_tied_and_not_ignored(tmp_path: Path) -> None:
    every = ["re:.*_proj$"]
    weights = weights_of(tmp_path, tie_word_embeddings=False)
    assert refusal(make_spec("rtn", ignore=every), weights) == ""
    assert "no layer" in refusal(make_spec("rtn", ignore=[*every, "lm_head"]), weights)
    tied = weights_of(tmp_path, tie_word_embeddings=True)
    assert "no layer" in refusal(make_spec("rtn", ignore=every), tied)


def test_an_architecture_that_transformers_does_not_know_is_refused(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, model_type="nonsense")
    with pytest.raises(FaqError, match=r"configuration cannot be loaded: .*nonsense") as caught:
        check_spec(make_spec("rtn"), weights)
    assert caught.value.where.startswith(str(tmp_path / "config.json"))


def test_an_architecture_is_remembered_so_that_a_plan_loads_no_torch(tmp_path: Path) -> None:
    """The second process reads what the first has found; a damaged memory is found again."""
    weights_of(tmp_path / "model", 64, 48)
    code = f"""
import sys
from pathlib import Path
from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import BitPlan, Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.spec_check import check_spec
member = Member(name="m", path=Path({str(tmp_path / "model")!r}), parameters=1)
try:
    check_spec(
        Quantization(method="rtn", scheme="W4A16", group_size=32),
        Weights(member, "d", "t", Path({str(tmp_path / "cache")!r})),
    )
except FaqError as error:
    print(error.problem, "torch" in sys.modules)
"""

    def told() -> str:
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return run.stdout.strip()

    expected = "group_size 32 does not divide the 48 columns of model.layers.0.mlp.down_proj"
    assert told() == f"{expected} True"
    assert told() == f"{expected} False"
    (memory,) = (tmp_path / "cache").iterdir()
    memory.write_text(memory.read_text()[:100])
    assert told() == f"{expected} True"


def mixture(folder: Path) -> Weights:
    """A Mixtral of which there is the configuration alone."""
    return weights_of(folder, model_type="mixtral", num_local_experts=4)


EXPERTS = ["lm_head", r"re:.*\.experts\..*"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"scheme": "W4A16_ASYM", "group_size": 32}, "symmetric integer weights alone, and not W4A16_ASYM"),
        ({"scheme": "W8A8"}, "symmetric integer weights alone, and not W8A8"),
        ({"scheme": "NVFP4A16", "group_size": None}, "symmetric integer weights alone, and not NVFP4A16"),
        ({"ignore": ["lm_head", "re:.*experts.1\\..*"]}, "experts.1.gate_proj is left out, .* other experts"),
        ({"ignore": EXPERTS}, "experts.0.gate_proj is left out, .* beside layers in W4A16"),
        ({"scheme": "W8A8", "ignore": EXPERTS}, "experts.0.gate_proj is left out, .* beside layers in W8A8"),
        ({"layer_bits": {"re:.*layers.0.*": 3}}, "experts of one width"),
        ({"plan": BitPlan(average_bits=4)}, "experts of one width"),
    ],
)
def test_experts_that_would_not_load_are_refused(fields: dict, problem: str, tmp_path: Path) -> None:
    with pytest.raises(FaqError, match=problem) as caught:
        check_spec(make_spec("gptq", **fields), mixture(tmp_path))
    assert caught.value.problem.startswith("MixtralForCausalLM: ") and caught.value.hint


def test_experts_beside_layers_in_fp8_are_left_out_and_load(tmp_path: Path) -> None:
    """The refusal names the line to add, and transformers loads what is then made."""
    from faq_pipeline.models.weights import find_weights
    from faq_pipeline.quantization.load import load_quantized
    from faq_pipeline.quantization.oneshot import quantize
    from faq_pipeline.util.progress import SilentProgress
    from tests.cases.architectures import FAMILIES, save_random

    spec = make_spec("rtn", "FP8_DYNAMIC", None)
    with pytest.raises(FaqError, match="symmetric integer weights alone, and not FP8_DYNAMIC") as caught:
        check_spec(spec, mixture(tmp_path / "configuration"))
    spec = spec.model_copy(update={"ignore": line_to_add(caught.value)})
    assert spec.ignore == EXPERTS
    folder = save_random(FAMILIES["Mixtral"].build, tmp_path / "mixtral")
    weights = find_weights(Member(name="m", path=folder, parameters=1), tmp_path / "digests")
    check_spec(spec, weights)
    quantize(spec, weights, [], tmp_path / "out", "cpu", SilentProgress())
    assert load_quantized(tmp_path / "out", weights.member, "cpu") is not None


def test_experts_count_one_by_one(tmp_path: Path) -> None:
    """Attention aside, the experts are all that there is: routers are no layers to quantize."""
    weights = mixture(tmp_path)
    assert refusal(make_spec("gptq", group_size=64), weights) == ""
    attention = ["lm_head", "re:.*self_attn.*"]
    assert refusal(make_spec("gptq", ignore=attention), weights) == ""
    assert "no layer" in refusal(make_spec("gptq", ignore=[*attention, "re:.*experts.*"]), weights)


@pytest.mark.parametrize("where", ["", "text_config"])
def test_weights_that_are_quantized_already_are_refused_by_their_kind(where: str, tmp_path: Path) -> None:
    own = {"quantization_config": {"quant_method": "mxfp4"}}
    weights = weights_of(tmp_path, **({where: own} if where else own))
    assert refusal(make_spec("rtn"), weights) == "'m' is quantized already (mxfp4)"


def test_files_that_contradict_the_configuration_are_refused(tmp_path: Path) -> None:
    """transformers takes an embedding that lost a row, and a token of it fails in the middle of the work."""
    from faq_pipeline.models.weights import find_weights
    from tests.cases.architectures import FAMILIES, save_random

    folder = save_random(FAMILIES["Llama"].build, tmp_path / "llama")
    weights = find_weights(Member(name="m", path=folder, parameters=1), tmp_path / "digests")
    check_spec(make_spec("rtn"), weights)
    [file] = folder.glob("*.safetensors")
    tensors = load_file(file)
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:-1].clone()
    save_file(tensors, file, metadata={"format": "pt"})
    rows, columns = tensors["model.embed_tokens.weight"].shape
    assert f"model.embed_tokens.weight: {rows} x {columns}, expected {rows + 1} x {columns}" in refusal(
        make_spec("rtn"), find_weights(weights.member, tmp_path / "digests")
    )


@pytest.mark.parametrize(
    ("scheme", "size", "hidden"), [("FP8_BLOCK", 128, 64), ("NVFP4", 16, 40), ("MXFP4", 32, 48)]
)
def test_fixed_groups_that_do_not_divide_are_refused(
    scheme: str, size: int, hidden: int, tmp_path: Path
) -> None:
    spec = make_spec("rtn", scheme, None)
    found = refusal(spec, weights_of(tmp_path / "odd", hidden=hidden, intermediate=256))
    assert f"the groups of {size} of {scheme!r} do not divide the {hidden} columns" in found
    assert refusal(spec, weights_of(tmp_path / "even", hidden=128, intermediate=256)) == ""


def test_a_strength_of_smoothing_without_effect_is_refused(tiny_cell: Cell) -> None:
    spec = make_spec("smoothquant", "W8A8", smoothing_form="log", smoothing=0.8)
    assert "smoothing has no effect" in refusal(spec, tiny_cell.target)


@pytest.mark.parametrize("method", ["foem", "decoupleq"])
def test_solvers_that_never_ran_on_several_ranks_are_refused_there(method: str, tiny_cell: Cell) -> None:
    assert "has no ranks" in refusal(make_spec(method, ranks=2), tiny_cell.target)


def test_nothing_left_to_quantize_is_refused(tiny_cell: Cell) -> None:
    with pytest.raises(FaqError, match="no layer"):
        check_spec(make_spec("rtn", ignore=["re:.*"]), tiny_cell.target)


def test_a_broken_pattern_is_refused(tiny_cell: Cell) -> None:
    with pytest.raises(FaqError, match="not a regular expression"):
        check_spec(make_spec("rtn", ignore=["re:("]), tiny_cell.target)


def test_an_unknown_scheme_names_a_near_one_and_where_all_are(tiny_cell: Cell) -> None:
    for name, hint in (("w4a16", "did you mean 'W4A16'?"), ("best", "such as W4A16, W8A8, FP8_DYNAMIC;")):
        with pytest.raises(FaqError) as caught:
            check_spec(make_spec("rtn", name), tiny_cell.target)
        assert re.fullmatch(rf"{re.escape(hint)} docs/SCHEMES.md lists all \d+", caught.value.hint)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("W3", "W3A16"),
        ("w8", "W8A16"),
        ("W4A", "W4A16"),
        ("W4A16_", "W4A16_ASYM"),
        ("W", "W4A16"),
        ("MXFP", "MXFP4A16"),
        ("FP8_", "FP8_DYNAMIC"),
    ],
)
def test_the_start_of_a_schemes_name_suggests_the_one_of_weights_alone(
    name: str, meant: str, tiny_cell: Cell
) -> None:
    with pytest.raises(FaqError, match=rf"did you mean '{meant}'\?"):
        check_spec(make_spec("rtn", name), tiny_cell.target)


def test_a_plugins_scheme_is_not_counted_as_one_of_the_documentation(
    tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("OWN", "acme:OWN", SCHEMES.group)
    monkeypatch.setattr("faq_pipeline.config.registry._offered", lambda path, group: (point,))
    with pytest.raises(FaqError) as caught:
        check_spec(make_spec("rtn", "best"), tiny_cell.target)
    assert caught.value.hint.endswith(f"lists all {len(SCHEMES.built_in)}; plugins add 'OWN'")


def test_a_target_that_is_quantized_already_is_refused(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, quantization_config={})
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
    assert "7 does not divide" in refusal(make_spec("rtn", group_size=7), weights_of(tmp_path))


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
