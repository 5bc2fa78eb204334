"""Compensation: what is stored, counted, loaded and refused. Its inequalities are in `test_solvers` and
`test_outlier_columns`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from faq_pipeline.config.quantization import Compensation, Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.loading import load_folder
from faq_pipeline.quantization.dense import write_dense
from faq_pipeline.quantization.export import export, spec_of
from faq_pipeline.quantization.inspection import bits_per_weight
from faq_pipeline.quantization.layers import weight_bytes
from faq_pipeline.quantization.layerwise import layerwise_logits
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.serving_format import serve_command, served_as
from faq_pipeline.quantization.spec_check import check_spec
from faq_pipeline.quantization.stage import LAYERS, QUANTIZED_CHECKPOINT
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import QuantizedLayer
from faq_pipeline.store.tables import read_rows
from tests.quantization.conftest import Make, make_spec
from tests.quantization.test_check import mixture, weights_of
from tests.quantization.test_layer_report import made

RANK = 4
FIELDS = {"method": "gptq", "scheme": "W3A16", "group_size": 64, "dampening": 0.1}
IDS = torch.arange(40)[None]


@pytest.fixture(scope="module", params=["low_rank", "outlier_columns"])
def artifact(
    request: pytest.FixtureRequest, tiny_cell: Cell, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    spec = Compensation(kind=request.param, rank=RANK)
    return made(tiny_cell, tmp_path_factory.mktemp("home"), **FIELDS, compensation=spec)


@pytest.fixture(scope="module")
def plain(make_checkpoint: Make) -> Path:
    """The recipe's checkpoint without compensation."""
    return make_checkpoint(**FIELDS)


def kind_of(artifact: Artifact) -> str:
    kind: str = spec_of(artifact).compensation.kind  # type: ignore[union-attr]
    return kind


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def test_every_layer_gets_an_adapter_and_loses_less(artifact: Artifact) -> None:
    rows = read_rows(artifact.file(LAYERS), QuantizedLayer)
    assert len(rows) == 14
    for row in rows:
        assert row.error is not None and row.compensated_error is not None
        assert 0 < row.compensated_error < row.error
    mean = sum(row.compensated_error or 0 for row in rows) / 14
    assert artifact.metadata["compensated_error_mean"] == pytest.approx(mean)


def test_the_packed_weights_are_those_without_an_adapter_of_low_rank(artifact: Artifact, plain: Path) -> None:
    with_adapter, low_rank = artifact.file("checkpoint"), kind_of(artifact) == "low_rank"
    for name in ("model.safetensors", "config.json"):
        same = (with_adapter / name).read_bytes() == (plain / name).read_bytes()
        assert same == (low_rank or name == "config.json")
    assert {path.name for path in with_adapter.iterdir()} == {"adapter", *(p.name for p in plain.iterdir())}


def test_its_bits_and_bytes_count(artifact: Artifact, plain: Path, tiny_cell: Cell) -> None:
    folder = artifact.file("checkpoint")
    stored = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    rows = read_rows(artifact.file(LAYERS), QuantizedLayer)
    weights = sum(row.weights for row in rows)
    own = 16 * sum(tensor.numel() for tensor in stored.values()) / weights
    figures = artifact.metadata
    assert figures["bits_per_weight"] == pytest.approx(bits_per_weight(plain, tiny_cell.target) + own)
    total = sum(row.weights * (row.stored_bits or 0) for row in rows)
    assert figures["bits_per_weight"] == pytest.approx(total / weights)
    size = (folder / "adapter" / "adapter_model.safetensors").stat().st_size
    assert figures["bytes"] == figures["inspection"]["bytes"] == weight_bytes(plain) + size


def test_an_adapter_of_outlier_columns_chooses_columns(artifact: Artifact) -> None:
    stored = load_file(artifact.file("checkpoint/adapter/adapter_model.safetensors"))
    for name, tensor in stored.items():
        if name.endswith("lora_A.weight"):
            one_hot = torch.equal(tensor.sort(1).values[:, -2:], torch.tensor([[0.0, 1.0]] * RANK).bfloat16())
            assert one_hot == (kind_of(artifact) == "outlier_columns")


def test_the_loaded_model_is_the_packed_one_with_the_adapter(
    artifact: Artifact, tiny_cell: Cell, tmp_path: Path
) -> None:
    """The adapter is applied here as PEFT does it: beside each layer, from the files alone."""
    folder, member = artifact.file("checkpoint"), tiny_cell.target.member
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == RANK
    assert config["target_modules"] == [f"{name}_proj" for name in ("down", "gate", "k", "o", "q", "up", "v")]
    stored = load_file(folder / "adapter" / "adapter_model.safetensors")
    bare = shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("adapter"))
    model = load_quantized(bare, member, "cpu", "float32")
    without = logits(model)
    for name in {key.rpartition(".lora_")[0] for key in stored}:
        down, up = (stored[f"{name}.lora_{part}.weight"].float() for part in "AB")
        module = model.get_submodule(name.removeprefix("base_model.model."))
        module.register_forward_hook(lambda _, x, y, down=down, up=up: y + x[0] @ down.T @ up.T)
    beside = logits(model)
    merged = logits(load_quantized(folder, member, "cpu", "float32"))
    assert torch.equal(layerwise_logits(folder, member, "cpu", IDS, "float32"), merged)
    assert torch.allclose(merged, beside, atol=1e-4)
    assert (beside - without).abs().max() > 100 * (merged - beside).abs().max()


def test_peft_loads_it_over_the_packed_weights(artifact: Artifact, tiny_cell: Cell) -> None:
    peft = pytest.importorskip("peft")
    folder = artifact.file("checkpoint")
    ours = logits(load_quantized(folder, tiny_cell.target.member, "cpu", "float32"))
    packed = load_folder(folder, "cpu")
    logits(packed)  # unpacks the weights, in bf16
    model = peft.PeftModel.from_pretrained(torch.nn.Module.float(packed), str(folder / "adapter"))
    assert torch.allclose(logits(model), ours, atol=1e-4)


def test_a_dense_copy_has_the_adapter_in_its_weights(
    artifact: Artifact, tiny_cell: Cell, tmp_path: Path
) -> None:
    member = tiny_cell.target.member
    write_dense(artifact.file("checkpoint"), member, tmp_path, "cpu")
    assert not (tmp_path / "adapter").exists()
    expected = logits(load_quantized(artifact.file("checkpoint"), member, "cpu", "bfloat16"))
    assert torch.equal(logits(load_folder(tmp_path, "cpu")), expected)


def test_an_export_has_the_adapter_that_the_command_to_serve_names(
    artifact: Artifact, tmp_path: Path
) -> None:
    folder = export(artifact, tmp_path / "out")
    command = serve_command(spec_of(artifact), folder)
    named = Path(command.rpartition("=")[2])
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (named / name).read_bytes() == artifact.file(f"checkpoint/adapter/{name}").read_bytes()


def test_checks_look_at_the_adapter_too(artifact: Artifact, tiny_cell: Cell, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from faq_pipeline.quantization.inspection import inspect_checkpoint

    assert not QUANTIZED_CHECKPOINT.blocking_problem(tiny_cell, artifact)
    folder = tmp_path / "checkpoint"
    shutil.copytree(artifact.file("checkpoint"), folder)
    path = folder / "adapter" / "adapter_model.safetensors"
    stored = load_file(path)
    name = next(iter(stored))
    stored[name][0, 0] = float("nan")
    save_file(stored, path)
    assert inspect_checkpoint(folder, tiny_cell.target).nan_tensors == (name,)


def test_it_moves_the_fingerprint_only_where_it_is_set(tiny_cell: Cell) -> None:
    from tests.quantization.test_stage import with_quantization

    def said(**fields: Any) -> dict[str, Any]:
        own: dict[str, Any] = QUANTIZED_CHECKPOINT.identity(with_quantization(tiny_cell, **FIELDS, **fields))
        return own["quantization"]

    assert "compensation" not in said()
    assert said(compensation=Compensation(rank=8))["compensation"] == {"rank": 8}
    columns = Compensation(kind="outlier_columns", rank=8)
    assert said(compensation=columns)["compensation"] == {"kind": "outlier_columns", "rank": 8}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"method": "rtn"}, "'rtn' has no compensation"),
        ({"method": "awq"}, "'awq' has no compensation"),
        ({"scheme": "W4A8"}, "W4A8 rounds activations"),
        (
            {"compensation": Compensation(rank=300)},
            "rank 300 exceeds the .* rows or columns",
        ),
        ({"compensation": Compensation(kind="outlier_columns", rank=300)}, "rank 300 exceeds the"),
        ({"compensation": Compensation(kind="outlier_columns", rank=128)}, "no column of .* would be"),
        (
            {"method": "gptaq", "compensation": Compensation(kind="outlier_columns", rank=4)},
            "'gptaq' has no outlier columns",
        ),
        (
            {
                "scheme": "NVFP4A16",
                "group_size": None,
                "compensation": Compensation(kind="outlier_columns", rank=4),
            },
            "NVFP4A16 has scales of its own",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_work(
    fields: dict[str, Any], problem: str, tiny_cell: Cell
) -> None:
    spec = make_spec(**{"method": "gptq", "compensation": Compensation(rank=4), **fields})
    with pytest.raises(FaqError, match=problem):
        check_spec(spec, tiny_cell.target)


def test_a_head_alone_is_refused_since_it_would_have_no_adapter(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, tie_word_embeddings=False)
    spec = make_spec("gptq", ignore=["re:.*_proj$"])
    check_spec(spec, weights)
    with pytest.raises(FaqError, match="only the head is quantized"):
        check_spec(spec.model_copy(update={"compensation": Compensation(rank=4)}), weights)


def test_routed_experts_and_other_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FaqError, match=r"routed experts such as model\.layers\.0"):
        check_spec(make_spec("gptq", compensation=Compensation(rank=4)), mixture(tmp_path))
    for more in ({"ranks": 2}, {"kv_cache": "fp8"}):
        with pytest.raises(ValueError, match="neither 'ranks' nor 'kv_cache'"):
            make_spec("gptq", compensation={"rank": 4}, **more)


def test_a_norm_goes_with_low_rank_alone() -> None:
    with pytest.raises(ValueError, match="'space' goes with kind 'low_rank' alone"):
        Compensation(kind="outlier_columns", rank=4, space="plain")
    spec = Compensation(kind="outlier_columns", rank=4)
    assert Compensation.model_validate(spec.model_dump()) == spec


@pytest.mark.parametrize(("rank", "flag"), [(1, 8), (8, 8), (12, 16), (512, 512)])
def test_vllm_is_told_of_the_adapter(rank: int, flag: int) -> None:
    spec = Quantization(method="gptq", scheme="W4A16", group_size=128, compensation=Compensation(rank=rank))
    assert serve_command(spec, "out") == (
        f"vllm serve out --enable-lora --max-lora-rank {flag} --lora-modules compensated=out/adapter"
    )
    assert served_as(spec, "cuda") == "dense"  # evaluation adds the adapter to the weights
    assert serve_command(spec.model_copy(update={"compensation": None}), "out") == "vllm serve out"
