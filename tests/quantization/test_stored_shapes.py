"""A row or column that a checkpoint's tensor lost is found, and named with both shapes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from faq_pipeline.config.family import Member
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.architecture import architecture_of
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.quantization.inspection import inspect_checkpoint
from faq_pipeline.quantization.layers import read_tensors
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.util.progress import SilentProgress
from tests.cases.architectures import FAMILIES, save_random
from tests.quantization.conftest import Make, make_spec

LAYER = "model.layers.1.mlp.down_proj"  # 128 rows of 256 columns
EMBEDDING, NORM = "model.embed_tokens.weight", "model.norm.weight"
UP = "model.layers.1.mlp.up_proj.weight_packed"
PACKED, SCALE, ZERO = (f"{LAYER}.weight_{own}" for own in ("packed", "scale", "zero_point"))


@pytest.fixture(scope="module")
def sound(make_checkpoint: Make) -> dict[str, Path]:
    """Checkpoints by scheme; read-only."""
    return {
        "W4A16": make_checkpoint("rtn", "W4A16", 32),
        "mixed": make_checkpoint("rtn", "W4A16", 32, layer_bits={"re:.*down_proj": 3}),
        "W4A16_ASYM": make_checkpoint("rtn", "W4A16_ASYM", 32),
        "FP8": make_checkpoint("rtn", "FP8", None),
        "FP8_BLOCK": make_checkpoint("rtn", "FP8_BLOCK", None),
        "FP8_DYNAMIC": make_checkpoint("rtn", "FP8_DYNAMIC", None),
        "NVFP4A16": make_checkpoint("rtn", "NVFP4A16", None),
    }


def cut(sound: Path, folder: Path, name: str, dim: int, count: int = 1) -> Path:
    """A copy of a checkpoint in which a tensor lost its last rows (dimension 0) or columns."""
    copy = Path(shutil.copytree(sound, folder / "cut"))
    tensors = load_file(copy / "model.safetensors")
    kept = tensors[name].shape[dim] - count
    tensors[name] = tensors[name].narrow(dim, 0, kept).contiguous()
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize(
    ("scheme", "name", "dim", "count", "shapes"),
    [
        ("W4A16", EMBEDDING, 0, 1, "511 x 128, expected 512 x 128"),
        ("W4A16", EMBEDDING, 1, 1, "512 x 127, expected 512 x 128"),
        ("W4A16", NORM, 0, 1, "127, expected 128"),
        ("W4A16", PACKED, 0, 1, "127 x 32, expected 128 x 32"),
        ("W4A16", PACKED, 1, 1, "128 x 31, expected 128 x 32"),
        ("W4A16", PACKED, 1, 8, "128 x 24, expected 128 x 32"),  # as wide as with 3 bits
        ("W4A16", SCALE, 0, 1, "127 x 8, expected 128 x 8"),
        ("W4A16", SCALE, 1, 4, "128 x 4, expected 128 x 8"),
        ("mixed", PACKED, 1, 1, "128 x 23, expected 128 x 24"),
        ("mixed", UP, 1, 4, "256 x 12, expected 256 x 16"),  # as wide as the layers of 3 bits
        ("W4A16_ASYM", ZERO, 0, 1, "15 x 8, expected 16 x 8"),
        ("W4A16_ASYM", ZERO, 1, 1, "16 x 7, expected 16 x 8"),
        ("FP8", f"{LAYER}.weight", 1, 1, "128 x 255, expected 128 x 256"),
        ("FP8", SCALE, 0, 1, "0, expected 1"),
        ("FP8_BLOCK", SCALE, 1, 1, "1 x 1, expected 1 x 2"),
        ("FP8_DYNAMIC", SCALE, 0, 1, "127 x 1, expected 128 x 1"),
        ("NVFP4A16", PACKED, 1, 1, "128 x 127, expected 128 x 128"),
        ("NVFP4A16", SCALE, 1, 1, "128 x 15, expected 128 x 16"),
    ],
)
def test_a_cut_tensor_is_found(
    scheme: str,
    name: str,
    dim: int,
    count: int,
    shapes: str,
    sound: dict[str, Path],
    tiny_cell: Cell,
    tmp_path: Path,
) -> None:
    folder = cut(sound[scheme], tmp_path, name, dim, count)
    assert inspect_checkpoint(folder, tiny_cell.target).wrong_shapes == (f"{name}: {shapes}",)


def test_a_whole_layer_of_fewer_rows_is_found_by_each_of_its_tensors(
    sound: dict[str, Path], tiny_cell: Cell, tmp_path: Path
) -> None:
    """Its tensors agree with each other, so that only the model tells."""
    folder = Path(shutil.copytree(sound["W4A16"], tmp_path / "cut"))
    tensors = load_file(folder / "model.safetensors")
    for name in (PACKED, SCALE):
        tensors[name] = tensors[name][:-8].contiguous()
    tensors[f"{LAYER}.weight_shape"][0] -= 8
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert inspect_checkpoint(folder, tiny_cell.target).wrong_shapes == (
        f"{LAYER}.weight_shape: 120 x 256, expected 128 x 256",
        f"{PACKED}: 120 x 32, expected 128 x 32",
        f"{SCALE}: 120 x 8, expected 128 x 8",
    )


def rounded(model: Path, folder: Path, scheme: str = "W4A16", *, rotate: bool = False) -> Weights:
    """Rounds a model to nearest, into a folder's `sound`."""
    weights = find_weights(Member(name="m", path=model, parameters=1), folder / "digests")
    spec = make_spec("rtn", scheme, rotate=rotate)
    quantize(spec, weights, [], folder / "sound", "cpu", SilentProgress())
    return weights


def test_a_head_that_rotation_has_untied_is_compared_too(tmp_path: Path) -> None:
    weights = rounded(REPOSITORY / "data/models/kin-2m", tmp_path, "W4A4", rotate=True)
    assert not inspect_checkpoint(tmp_path / "sound", weights).wrong_shapes
    found = inspect_checkpoint(cut(tmp_path / "sound", tmp_path, "lm_head.weight", 0), weights)
    assert found.wrong_shapes == ("lm_head.weight: 2047 x 256, expected 2048 x 256",)


def test_one_expert_that_lost_a_row_is_named(tmp_path: Path) -> None:
    weights = rounded(save_random(FAMILIES["Mixtral"].build, tmp_path / "model"), tmp_path)
    assert not inspect_checkpoint(tmp_path / "sound", weights).wrong_shapes
    packed = [name for name in read_tensors(tmp_path / "sound") if name.endswith(".weight_packed")]
    name = next(name for name in packed if ".experts.3." in name)
    found = inspect_checkpoint(cut(tmp_path / "sound", tmp_path, name, 0), weights)
    assert found.wrong_shapes == (f"{name}: 63 x 8, expected 64 x 8",)


def test_of_an_unknown_scheme_no_packed_tensor_is_called_wrong(
    sound: dict[str, Path], tiny_cell: Cell, tmp_path: Path
) -> None:
    folder = cut(sound["W4A16"], tmp_path, PACKED, 1)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["config_groups"]["group_0"]["weights"]["strategy"] = None
    (folder / "config.json").write_text(json.dumps(config))
    assert not inspect_checkpoint(folder, tiny_cell.target).wrong_shapes


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_stores_the_shapes_of_its_architecture(name: str, tmp_path: Path) -> None:
    """Weights that transformers fuses, splits or transposes as it loads them too."""
    save_random(FAMILIES[name].build, tmp_path / "model")
    weights = find_weights(Member(name="m", path=tmp_path / "model", parameters=1), tmp_path / "digests")
    stored = {own: tensor.shape for own, tensor in read_tensors(tmp_path / "model").items()}
    found = architecture_of(weights).tensors
    assert found == {own: stored[own] for own in found}


def test_shapes_are_remembered_beside_the_digests(
    tiny_cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(model: object) -> object:
        raise AssertionError("the model is built again")

    weights = replace(tiny_cell.target, cache=tmp_path)
    monkeypatch.setattr("faq_pipeline.models.architecture._known", {})
    found = architecture_of(weights)
    monkeypatch.setattr("faq_pipeline.models.architecture._known", {})
    monkeypatch.setattr("faq_pipeline.models.architecture_probe.describe", describe)
    assert architecture_of(weights) == found
    assert found.tensors[NORM] == (128,) and found.tied == {"lm_head.weight": (512, 128)}
