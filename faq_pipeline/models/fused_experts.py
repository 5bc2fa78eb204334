"""Routed experts, which transformers holds as one module of three-dimensional parameters a block.

A quantizer of linear layers needs them one by one, as `<block>.<number>.gate_proj`, `up_proj` and
`down_proj`. Many checkpoints store them one by one too, under these names or others (Mixtral's w1, w3
and w2), and transformers fuses them as it loads: only such can be loaded back once they are quantized.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_STORED = re.compile(r"experts\.\*\.(\w+)\.weight$")
"""The source of a conversion that fuses experts: its group is the projection's name in the file."""


@dataclass(frozen=True)
class FusedExperts:
    """All experts of a block.

    Attributes:
        name: of the module that holds them.
        count: how many there are.
        shapes: (rows, columns) of each of an expert's linear layers, by the name that a quantizer gives it.
    """

    name: str
    count: int
    shapes: Mapping[str, tuple[int, int]]

    def layers(self) -> Iterator[str]:
        """Names that the experts' linear layers have once they are split."""
        return (f"{self.name}.{number}.{own}" for number in range(self.count) for own in self.shapes)


def fused_experts(model: PreTrainedModel) -> list[FusedExperts]:
    """The experts that a model holds fused."""
    import torch

    return [
        FusedExperts(name, len(module.down_proj), _shapes(module))
        for name, module in model.named_modules()
        if isinstance(down := getattr(module, "down_proj", None), torch.nn.Parameter) and down.ndim == 3
    ]


def single_expert_conversions(model: PreTrainedModel) -> list[Any] | None:
    """Conversions between files and memory for a model whose experts are linear layers of their own.

    They are transformers' own but for those that fuse experts, whose place renamings take. None where
    transformers fuses none as it loads: files then hold fused experts, and single ones do not load.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming

    kept, renamings = [], []
    for conversion in get_model_conversion_mapping(model, add_legacy=False):
        sources = [_STORED.search(source) for source in conversion._original_source_patterns]
        if not isinstance(conversion, WeightConverter) or not all(sources):
            kept.append(conversion)
            continue
        (target,) = conversion._original_target_patterns
        names = ["gate_proj", "up_proj"] if len(sources) == 2 else [target.rpartition(".")[2]]
        stored = [source.group(1) for source in sources if source]
        renamings += [
            WeightRenaming(rf"\.experts\.(\d+)\.{own}\.", rf".experts.\1.{name}.")
            for own, name in zip(stored, names, strict=True)
        ]
    return [*kept, *renamings] if renamings else None


def _shapes(experts: Any) -> dict[str, tuple[int, int]]:
    def shape(parameter: torch.Tensor) -> tuple[int, int]:
        rows, columns = parameter.shape[1:]
        return (columns, rows) if getattr(experts, "is_transposed", True) else (rows, columns)

    down = shape(experts.down_proj)
    if not hasattr(experts, "gate_up_proj"):
        return {"up_proj": shape(experts.up_proj), "down_proj": down}
    both, columns = shape(experts.gate_up_proj)
    return {"gate_proj": (both // 2, columns), "up_proj": (both // 2, columns), "down_proj": down}
