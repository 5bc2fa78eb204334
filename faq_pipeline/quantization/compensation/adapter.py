"""The adapter of a checkpoint: a folder in PEFT's format, `adapter/` in the checkpoint's own.

PEFT and vLLM load it over the packed weights. Here it is added to the unpacked ones, which is the same
model and as fast as without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.models.architecture import architecture_of
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.compensation.low_rank import LowRank
from faq_pipeline.quantization.layers import ADAPTER, opened, read_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
_UP, _DOWN = ".lora_B.weight", ".lora_A.weight"


def write_adapter(checkpoint: Path, target: Weights, adapter: Mapping[str, LowRank]) -> None:
    """Write the adapter of a checkpoint. The same adapter gives the same bytes.

    Args:
        adapter: by module, all of one rank.
    """
    from safetensors.torch import save_file

    folder = checkpoint / ADAPTER
    folder.mkdir()
    tensors = {}
    for module, own in adapter.items():
        tensors[f"{_PREFIX}{module}{_DOWN}"] = own.down.contiguous()
        tensors[f"{_PREFIX}{module}{_UP}"] = own.up.contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    rank = next(iter(adapter.values())).down.shape[0]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,  # the product is added as it is
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": _names(target, adapter),
        "base_model_name_or_path": None,
        "inference_mode": True,
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def read_adapter(checkpoint: Path) -> dict[str, LowRank]:
    """The adapter of a checkpoint by module; empty where it has none."""
    path = checkpoint / ADAPTER / WEIGHTS
    if not path.is_file():
        return {}
    with opened(path, "pt") as file:
        names = [name for name in file.keys() if name.endswith(_UP)]  # noqa: SIM118 (not a dict)
        return {
            name.removeprefix(_PREFIX).removesuffix(_UP): LowRank(
                file.get_tensor(name), file.get_tensor(name.removesuffix(_UP) + _DOWN)
            )
            for name in names
        }


def adapter_bits(checkpoint: Path) -> dict[str, int]:
    """Stored bits of a checkpoint's adapter by module; empty where it has none."""
    found: dict[str, int] = {}
    for name, tensor in read_tensors(checkpoint / ADAPTER).items():
        module = name.removeprefix(_PREFIX).removesuffix(_UP).removesuffix(_DOWN)
        found[module] = found.get(module, 0) + tensor.bits
    return found


def add_adapter(model: PreTrainedModel, adapter: Mapping[str, LowRank]) -> None:
    """Add an adapter to the weights of a model, whose layers must not be packed."""
    for module, own in adapter.items():
        weight: Any = model.get_submodule(module).weight
        there = LowRank(own.up.to(weight.device), own.down.to(weight.device))
        weight.data = (weight.data.float() + there.product).to(weight.dtype)


def _names(target: Weights, adapter: Mapping[str, LowRank]) -> list[str]:
    """The last parts of the modules' names, or all of each where others end alike."""
    last = {module.rpartition(".")[2] for module in adapter}
    alike = {layer.module for layer in architecture_of(target).layers}
    alike = {module for module in alike if module.rpartition(".")[2] in last}
    return sorted(last if alike == adapter.keys() else adapter)
