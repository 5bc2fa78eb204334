"""Inspects a quantized checkpoint for the checks that block a bad one."""

from __future__ import annotations

import logging
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from faq_pipeline.config.family import Member
from faq_pipeline.models.architecture import architecture_of
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.layers import (
    ADAPTER,
    is_quantized,
    read_tensors,
    stored_names,
    weight_bytes,
)
from faq_pipeline.quantization.stored_shapes import wrong_shapes
from faq_pipeline.util.memory import is_out_of_memory

if TYPE_CHECKING:
    import torch


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inspection:
    """The result of an inspection.

    Attributes:
        bytes, original_bytes: size of the safetensors files, quantized and original.
        nan_tensors: tensors that hold a NaN or an infinity.
        missing_tensors: tensors of the model that the checkpoint has neither as they were nor
            quantized.
        wrong_shapes: tensors of another shape than the model or the scheme gives them, see
            `stored_shapes.wrong_shapes`.
        unquantized_linear_layers: layers that could be quantized and are still as they were; a recipe's
            `ignore` names the ones that should be.
        loads: whether transformers loads it, and a first forward pass gives finite logits.
        load_error: why not; empty if it does.
    """

    bytes: int
    original_bytes: int
    nan_tensors: tuple[str, ...]
    missing_tensors: tuple[str, ...]
    wrong_shapes: tuple[str, ...]
    unquantized_linear_layers: tuple[str, ...]
    loads: bool
    load_error: str


def inspect_checkpoint(folder: Path, target: Weights, device: str = "cpu") -> Inspection:
    """Load a checkpoint and try it on the device, a layer at a time; meanwhile look through its tensors.

    Args:
        target: the member that was quantized.
    """
    tensors, architecture = read_tensors(folder), architecture_of(target)
    with ThreadPoolExecutor(1) as beside:
        nan_tensors = beside.submit(find_nan, folder)
        error = _load_error(folder, target.member, device)
    return Inspection(
        bytes=weight_bytes(folder),
        original_bytes=weight_bytes(target.folder),
        nan_tensors=tuple(nan_tensors.result()),
        missing_tensors=tuple(
            name for name in architecture.tensors if name not in tensors and f"{name}_packed" not in tensors
        ),
        wrong_shapes=tuple(wrong_shapes(folder, architecture, tensors)),
        unquantized_linear_layers=tuple(
            layer.module for layer in architecture.quantizable if not is_quantized(layer, tensors)
        ),
        loads=not error,
        load_error=error,
    )


def find_nan(folder: Path) -> list[str]:
    """Names of tensors that hold a NaN or an infinity."""
    found = []
    for file, name in chain(stored_names(folder, "pt"), stored_names(folder / ADAPTER, "pt")):
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


def stored_bits(folder: Path, target: Weights) -> dict[str, int]:
    """Stored bits (integers, scales, zero points, shapes, adapter) of each quantized layer, by module."""
    from faq_pipeline.quantization.compensation.adapter import adapter_bits

    tensors, adapter = read_tensors(folder), adapter_bits(folder)
    own: dict[str, int] = defaultdict(int)
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        own[module] += tensor.bits if last.startswith("weight") else 0
    return {
        layer.module: own[layer.stored] + adapter.get(layer.module, 0)
        for layer in architecture_of(target).layers
        if is_quantized(layer, tensors)
    }


def bits_per_weight(folder: Path, target: Weights) -> float:
    """`stored_bits` of all quantized layers for each of their weights."""
    bits = stored_bits(folder, target)
    layers = [layer for layer in architecture_of(target).layers if layer.module in bits]
    weights = sum(layer.rows * layer.columns for layer in layers)
    return sum(bits.values()) / weights if weights else 0.0


def _load_error(folder: Path, member: Member, device: str) -> str:
    """Why the checkpoint cannot be used; empty if it can.

    The forward pass is needed: of a quantized checkpoint transformers takes the shapes as they come.
    A GPU that is full, as where others compute on it too, says nothing of the checkpoint: main memory
    is tried then.

    Raises:
        RuntimeError: main memory is full.
    """
    from faq_pipeline.models.loading import release

    try:
        return "" if _first_logits_are_finite(folder, member, device) else "logits are not finite"
    except MemoryError:
        raise
    except Exception as error:  # whatever it raises says that the checkpoint cannot be used
        if not is_out_of_memory(error):
            return str(error).splitlines()[0] if str(error) else type(error).__name__
        if device == "cpu":
            raise
    finally:
        release()
    return _load_error(folder, member, "cpu")


def _first_logits_are_finite(folder: Path, member: Member, device: str) -> bool:
    """A decoder layer at a time is decompressed; where that fails, the whole model is, whose error counts."""
    import torch

    from faq_pipeline.models.loading import release
    from faq_pipeline.quantization.layerwise import layerwise_logits
    from faq_pipeline.quantization.load import load_quantized

    ids, logits = torch.arange(8).unsqueeze(0), None
    try:
        logits = layerwise_logits(folder, member, device, ids)
    except Exception as error:  # see `layerwise_logits`
        if is_out_of_memory(error):
            raise
        _log.info("%s: one layer at a time: %s: %s", folder, type(error).__name__, error)
    if logits is None:
        release()  # what the error held is gone only now
        model = load_quantized(folder, member, device)
        with torch.no_grad():
            logits = model(ids.to(model.device)).logits
    return bool(torch.isfinite(logits).all())
