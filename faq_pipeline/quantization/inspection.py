"""Inspects a quantized checkpoint for the checks that block a bad one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.layers import (
    Tensor,
    is_quantized,
    linear_layers,
    opened,
    read_tensors,
    shards,
    weight_bytes,
)

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Inspection:
    """The result of an inspection.

    Attributes:
        bytes, original_bytes: size of the safetensors files, quantized and original.
        nan_tensors: tensors that hold a NaN or an infinity.
        missing_tensors: tensors of the original that the checkpoint has neither as they were nor
            quantized.
        unquantized_linear_layers: linear layers that are still as they were; a recipe's `ignore`
            names the ones that should be.
        loads: whether transformers loads it, and a first forward pass gives finite logits.
        load_error: why not; empty if it does.
    """

    bytes: int
    original_bytes: int
    nan_tensors: tuple[str, ...]
    missing_tensors: tuple[str, ...]
    unquantized_linear_layers: tuple[str, ...]
    loads: bool
    load_error: str


def inspect_checkpoint(folder: Path, target: Weights, device: str = "cpu") -> Inspection:
    """Load a checkpoint and try it on the device; meanwhile look through it, a tensor at a time.

    Args:
        target: the member that was quantized.
    """
    tensors, original = read_tensors(folder), read_tensors(target.folder)
    with ThreadPoolExecutor(1) as beside:
        nan_tensors = beside.submit(find_nan, folder)
        error = _load_error(folder, target.member, device)
    return Inspection(
        bytes=weight_bytes(folder),
        original_bytes=weight_bytes(target.folder),
        nan_tensors=tuple(nan_tensors.result()),
        missing_tensors=tuple(_missing(folder, tensors, original)),
        unquantized_linear_layers=tuple(
            name for name in linear_layers(original) if not is_quantized(name, tensors)
        ),
        loads=not error,
        load_error=error,
    )


def find_nan(folder: Path) -> list[str]:
    """Names of tensors that hold a NaN or an infinity."""
    found = []
    for path in shards(folder):
        with opened(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                tensor = file.get_tensor(name)
                if tensor.is_floating_point() and not _is_finite(tensor):
                    found.append(name)
    return found


def _is_finite(tensor: torch.Tensor) -> bool:
    """By its least and greatest element, which is many times as quick; one NaN makes both of them NaN."""
    import torch

    if not tensor.numel():
        return True
    if tensor.element_size() == 1:  # torch orders no 8-bit floats
        tensor = tensor.float()
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def bits_per_weight(folder: Path, original_folder: Path) -> float:
    """Stored bits (integers, scales, zero points, shapes) for each weight of the quantized layers."""
    tensors, original = read_tensors(folder), read_tensors(original_folder)
    bits = weights = 0
    for name, (rows, columns) in linear_layers(original).items():
        if is_quantized(name, tensors):
            weights += rows * columns
            bits += sum(t.bits for key, t in tensors.items() if key.startswith(f"{name}.weight"))
    return bits / weights if weights else 0.0


def _missing(folder: Path, tensors: dict[str, Tensor], original: dict[str, Tensor]) -> list[str]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # Some originals hold a head that is tied; saving leaves the copy out.
    tied = {"lm_head.weight"} if config.get("tie_word_embeddings") else set()
    return [
        name
        for name in original
        if name not in tensors and f"{name}_packed" not in tensors and name not in tied
    ]


def _load_error(folder: Path, member: Member, device: str) -> str:
    """Why the checkpoint cannot be used; empty if it can.

    The forward pass is needed: of a quantized checkpoint transformers takes the shapes as they come.
    A GPU that is full, as where others compute on it too, says nothing of the checkpoint: main memory
    is tried then.

    Raises:
        RuntimeError: main memory is full.
    """
    from faq_pipeline.models.loading import is_out_of_memory, release

    try:
        return "" if _first_logits_are_finite(folder, member, device) else "logits are not finite"
    except (FaqError, RuntimeError) as error:
        if not is_out_of_memory(error):
            return str(error).splitlines()[0]
        if device == "cpu":
            raise
    finally:
        release()
    return _load_error(folder, member, "cpu")


def _first_logits_are_finite(folder: Path, member: Member, device: str) -> bool:
    import torch

    from faq_pipeline.quantization.load import load_quantized

    model = load_quantized(folder, member, device)
    with torch.no_grad():
        logits = model(torch.arange(8, device=model.device).unsqueeze(0)).logits
    return bool(torch.isfinite(logits).all())
