from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers.utils.quantization_config import CompressedTensorsConfig

from faq_pipeline.config.family import Member
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.loading import load_folder, load_model
from faq_pipeline.models.weights import find_weights
from faq_pipeline.quantization.inspection import inspect_checkpoint
from faq_pipeline.quantization.kv_cache import check_cached_attention, check_kv_cache
from faq_pipeline.quantization.layers import read_tensors, weight_bytes
from faq_pipeline.quantization.layerwise import layerwise_logits
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.methods import needs_calibration
from faq_pipeline.quantization.oneshot import quantize, run
from faq_pipeline.quantization.saving import save
from faq_pipeline.quantization.serving_format import served_as
from faq_pipeline.util.progress import SilentProgress
from tests.gpu.fakes import have_cores
from tests.noting import Noting
from tests.quantization.conftest import Make, make_rows, make_spec
from tests.tiny import make_tokenizer

CASES = [
    ("rtn", "W2A16", "channel", {}),
    ("rtn", "W4A16", 32, {}),
    ("rtn", "W8A8", "channel", {}),
    ("gptq", "W3A16", "channel", {}),
    ("gptq", "W4A16", 64, {"actorder": "static"}),
    ("gptq", "W8A16", 128, {"actorder": "weight"}),
    ("awq", "W4A16", 32, {}),
    ("awq", "W3A16", "channel", {}),
    ("smoothquant", "W8A8", "channel", {}),
    ("smoothquant", "W4A16", 128, {}),
    ("rtn", "W3A16", "channel", {"observer": "mse"}),
    ("rtn", "W4A16_ASYM", 64, {"observer": "imatrix"}),
    ("gptq", "W3A16", "channel", {"observer": "imatrix", "actorder": "static", "dampening": 0.1}),
    ("awq", "W3A16", "channel", {"observer": "imatrix"}),
    ("smoothquant", "W4A8", "channel", {"observer": "imatrix"}),
    ("rtn", "W3A16_ASYM", 32, {}),
    ("rtn", "W4AFP8", 32, {}),
    ("rtn", "FP8", None, {}),
    ("rtn", "FP8_DYNAMIC", None, {}),
    ("rtn", "FP8_BLOCK", None, {}),
    ("rtn", "NVFP4", None, {}),
    ("rtn", "NVFP4A16", None, {}),
    ("rtn", "MXFP4", None, {}),
    ("rtn", "MXFP4A16", None, {}),
    ("gptq", "NVFP4A16", None, {}),
    ("gptq", "FP8_DYNAMIC", None, {}),
    ("awq", "NVFP4A16", None, {}),
    ("awq", "FP8", None, {"duo_scaling": False}),
    ("smoothquant", "FP8_DYNAMIC", None, {}),
    ("rtn", "W3A4", 32, {}),
    ("gptaq", "W3A16", "channel", {"observer": "imatrix", "actorder": "static", "dampening": 0.1}),
    ("gptaq", "NVFP4A16", None, {}),
    ("foem", "W3A16", "channel", {"observer": "imatrix", "actorder": "static", "dampening": 0.1}),
    ("foem", "NVFP4A16", None, {}),
    ("quantease", "W4A16_ASYM", 64, {"actorder": "static"}),
    ("autoround", "W3A16", "channel", {"iterations": 2, "layer_bits": {"re:.*down_proj": 5}}),
    ("autoround", "W4A16_ASYM", 64, {"iterations": 2}),
    ("autoround", "NVFP4", None, {"iterations": 2}),
    ("autoround", "MXFP4", None, {"iterations": 2}),
    ("rtn", "W4A4", "channel", {"rotate": True}),
    ("gptq", "W4A8", "channel", {"rotate": True}),
    ("smoothquant", "W4A8", "channel", {"smoothing_form": "activations", "smoothing": 0.85}),
    ("smoothquant", "W8A8", "channel", {"smoothing_form": "log"}),
    ("decoupleq", "W2A16", 32, {"observer": "imatrix", "actorder": "static", "dampening": 0.1}),
    ("decoupleq", "W3A16", "channel", {}),
    ("decoupleq", "W8A8", "channel", {"kv_cache": "fp8"}),
]


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor(make_rows(2))).logits.float()


@pytest.mark.parametrize(("method", "scheme", "group", "more"), CASES)
def test_a_saved_checkpoint_is_the_model_that_was_quantized(
    method: str, scheme: str, group: object, more: dict, tiny_cell: Cell, tmp_path: Path
) -> None:
    spec = make_spec(method, scheme, group, **more)
    quantized = run(spec, tiny_cell.target, make_rows(), "cpu", SilentProgress())
    in_memory = logits(quantized.model)
    save(quantized.model, tiny_cell.target, tmp_path)
    loaded = logits(load_quantized(tmp_path, tiny_cell.target.member, "cpu"))
    as_the_library_does = load_folder(
        tmp_path, "cpu", quantization_config=CompressedTensorsConfig(dequantize=True)
    )
    assert torch.equal(loaded, logits(as_the_library_does))
    ids = torch.tensor(make_rows(2))
    assert torch.equal(loaded, layerwise_logits(tmp_path, tiny_cell.target.member, "cpu", ids).float())
    assert torch.isfinite(loaded).all()
    assert torch.allclose(loaded, in_memory, atol=1e-3)
    assert not torch.allclose(loaded, logits(load_model(tiny_cell.target, "cpu")), atol=1e-3)
    found = inspect_checkpoint(tmp_path, tiny_cell.target)
    assert found.loads and found.bytes < found.original_bytes
    assert not found.missing_tensors and not found.wrong_shapes
    assert not found.unquantized_linear_layers


def test_a_tied_head_is_left_alone_though_ignore_does_not_name_it(tiny_cell: Cell) -> None:
    """Rounding it would round the embedding."""
    embedding = load_model(tiny_cell.target, "cpu").get_input_embeddings().weight
    made = run(make_spec("rtn", ignore=[]), tiny_cell.target, [], "cpu", SilentProgress()).model
    assert torch.equal(made.get_input_embeddings().weight, embedding)
    assert not hasattr(made.get_output_embeddings(), "quantization_scheme")


@pytest.mark.parametrize("scheme", ["W4A8", "W4A4", "W4AFP8"])
def test_weights_below_8_bits_are_packed_though_activations_are_rounded(
    scheme: str, make_checkpoint: Make, rtn_checkpoint: Path, tiny_cell: Cell
) -> None:
    """They take as much as they do where activations stay as they are, and not a byte each."""
    folder = make_checkpoint("rtn", scheme)
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert config["format"] == "pack-quantized"
    assert weight_bytes(folder) == pytest.approx(weight_bytes(rtn_checkpoint), rel=0.01)
    layer = "model.layers.0.mlp.up_proj.weight"
    stored = [load_quantized(one, tiny_cell.target.member, "cpu") for one in (folder, rtn_checkpoint)]
    assert torch.equal(*(model.get_parameter(layer) for model in stored))


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_the_cache_is_rounded_with_scales_of_the_calibration_set(
    method: str, make_checkpoint: Make, tiny_cell: Cell
) -> None:
    """Of the same weights, in memory and in the files, and as the configuration says it to vLLM."""
    spec = make_spec(method, kv_cache="fp8")
    assert needs_calibration(spec)
    folder, plain = make_checkpoint(method, kv_cache="fp8"), make_checkpoint(method)
    said = json.loads((folder / "config.json").read_text())["quantization_config"]["kv_cache_scheme"]
    assert (said["num_bits"], said["type"], said["strategy"], said["dynamic"]) == (
        8,
        "float",
        "tensor",
        False,
    )
    cached, tensors = read_tensors(folder), read_tensors(plain)
    scales = {name for name in cached if name not in tensors}
    layers = tiny_cell.target.config["num_hidden_layers"]
    assert scales == {f"model.layers.{n}.self_attn.{one}_scale" for n in range(layers) for one in "kv"}

    rounded, exact = (logits(load_quantized(one, tiny_cell.target.member, "cpu")) for one in (folder, plain))
    assert not torch.equal(rounded, exact) and torch.allclose(rounded, exact, atol=0.5)
    reloaded = load_folder(folder, "cpu", quantization_config=CompressedTensorsConfig(dequantize=True))
    assert torch.equal(rounded, logits(reloaded))
    ids = torch.tensor(make_rows(2))
    assert torch.equal(rounded, layerwise_logits(folder, tiny_cell.target.member, "cpu", ids).float())
    # Other data has other scales, and with round-to-nearest nothing else.
    draws = ([[token + more for token in row] for row in make_rows(2)] for more in (0, 40))
    mine, other = (make_checkpoint("rtn", kv_cache="fp8", rows=rows) for rows in draws)
    one, two = (load_file(path / "model.safetensors") for path in (mine, other))
    differing = {name for name in one if not torch.equal(one[name], two[name])}
    assert differing and differing <= scales


def test_a_cache_that_nothing_would_round_is_refused(tiny_cell: Cell) -> None:
    spec = make_spec("gptq", kv_cache="fp8")
    with pytest.raises(FaqError, match="no attention layer whose keys and values can be rounded"):
        check_kv_cache(spec, "gpt2", ["transformer.h.0.attn.c_attn", "transformer.h.0.mlp.c_fc"])
    check_kv_cache(spec, "llama", ["model.layers.0.self_attn.k_proj"])
    with pytest.raises(FaqError, match="has no attention layer with a cache"):
        check_cached_attention(spec, torch.nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="goes with neither"):
        make_spec("gptq", kv_cache="fp8", plan={"average_bits": 4})
    assert served_as(make_spec("gptq", "W3A16"), "cpu") == "dense"
    assert served_as(make_spec("gptq", "W3A16", kv_cache="fp8"), "cpu") == "packed"


@pytest.mark.parametrize("method", ["gptq", "awq", "smoothquant", "gptaq", "foem", "decoupleq"])
def test_bytes_follow_the_calibration_set_and_nothing_else(method: str, make_checkpoint: Make) -> None:
    rows = make_rows(3, 32)
    one, two, other = (make_checkpoint(method, rows=r) for r in (rows, rows, make_rows(2, 32)))
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    name = "model.safetensors"
    assert (one / name).read_bytes() != (other / name).read_bytes()


def test_rounding_to_nearest_looks_at_no_data(make_checkpoint: Make, rtn_checkpoint: Path) -> None:
    other = make_checkpoint("rtn", rows=[])
    name = "model.safetensors"
    assert (other / name).read_bytes() == (rtn_checkpoint / name).read_bytes()


def test_a_checkpoint_folder_is_complete_and_names_no_path(make_checkpoint: Make, tiny_cell: Cell) -> None:
    folder = make_checkpoint("smoothquant", "W8A8")
    original = tiny_cell.target.folder
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (folder / name).read_bytes() == (original / name).read_bytes()
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert config["tie_word_embeddings"] is True
    assert "lm_head.weight" not in read_tensors(folder)
    for path in folder.iterdir():
        content = path.read_bytes()
        assert str(original).encode() not in content and str(folder).encode() not in content


def test_nothing_is_printed_and_nothing_left_behind(
    make_checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    make_checkpoint("gptq")
    assert not list(tmp_path.iterdir())
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err == ""


def test_on_a_gpu_there_are_as_many_threads_as_cores(
    tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights lie in main memory then, and yet nothing is computed there."""
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setattr(
        "faq_pipeline.quantization.compute_device.torch_device", lambda device: torch.device("cpu")
    )
    have_cores(monkeypatch, 6)
    run(make_spec("rtn"), tiny_cell.target, [], "cpu", SilentProgress())
    run(make_spec("rtn"), tiny_cell.target, [], "cuda:0", SilentProgress())
    assert told == [1, 6]


def test_progress_counts_to_its_total(tiny_cell: Cell, tmp_path: Path) -> None:
    class Counting(SilentProgress):
        total = done = 0

        def start(self, what: str, total: int) -> None:
            self.total += total

        def advance(self, done: int = 1) -> None:
            self.done += done

    for method in ("rtn", "gptq", "awq", "smoothquant", "gptaq", "autoround"):
        counting = Counting()
        run(make_spec(method, iterations=1), tiny_cell.target, make_rows(1, 16), "cpu", counting)
        assert counting.done == counting.total > 0, method


def test_a_hessian_that_cannot_be_inverted_is_reported(tiny_cell: Cell, tmp_path: Path) -> None:
    told = Noting()
    singular = [[5]]  # one token: a Hessian of rank one, and next to no dampening
    spec = make_spec("gptq", "W4A16", dampening=1e-12)
    fallback = quantize(spec, tiny_cell.target, singular, tmp_path, "cpu", told).fallback
    assert "model.layers.0.self_attn.q_proj" in fallback
    assert len(told.notes) == 1 and "rounded to nearest" in told.notes[0]


def test_a_healthy_run_reports_no_fallback(tiny_cell: Cell, tmp_path: Path) -> None:
    spec = make_spec("smoothquant", "W8A8")
    assert not quantize(spec, tiny_cell.target, make_rows(), tmp_path, "cpu", SilentProgress()).fallback


def test_an_empty_calibration_set_is_refused(tiny_cell: Cell, tmp_path: Path) -> None:
    with pytest.raises(FaqError, match="needs a calibration set"):
        quantize(make_spec("gptq"), tiny_cell.target, [], tmp_path, "cpu", SilentProgress())


def test_activations_are_rounded_after_loading_too(make_checkpoint: Make, tiny_cell: Cell) -> None:
    """W4A4 and W4A16 hold the same weights, so only their activations can differ."""
    weights_only, both = make_checkpoint("rtn", "W4A16"), make_checkpoint("rtn", "W4A4")
    models = [load_quantized(folder, tiny_cell.target.member, "cpu") for folder in (weights_only, both)]
    layer = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(models[0].get_parameter(layer), models[1].get_parameter(layer))
    assert not torch.allclose(logits(models[0]), logits(models[1]), atol=1e-3)


@pytest.mark.parametrize("ignore", [["lm_head"], []])
def test_an_untied_llama(ignore: list[str], tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    original, folder = tmp_path / "original", tmp_path / "quantized"
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(original)
    make_tokenizer(original)
    weights = find_weights(Member(name="llama", path=original, parameters=1), tmp_path / "digests")
    quantize(make_spec("gptq", ignore=ignore), weights, make_rows(2), folder, "cpu", SilentProgress())
    found = inspect_checkpoint(folder, weights)
    assert found.loads and not found.missing_tensors and not found.wrong_shapes
    assert found.unquantized_linear_layers == tuple(ignore)
