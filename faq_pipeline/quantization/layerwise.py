"""A forward pass through a quantized checkpoint, with one decoder layer decompressed at a time.

Integers and unquantized tensors stay as they were loaded: on a CPU in the checkpoint's files, which are
mapped, so the system can drop them from main memory and read them again. The exceptions are routed experts,
which transformers decompresses as it loads them, and unquantized tensors that are widened to float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.family import Member
from faq_pipeline.models.precision import Precision, precision_for
from faq_pipeline.quantization.load import load_stored
from faq_pipeline.quantization.quiet import quiet_llmcompressor

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from faq_pipeline.quantization.compensation.low_rank import LowRank


def layerwise_logits(
    folder: Path, member: Member, device: str, ids: torch.Tensor, precision: Precision | None = None
) -> torch.Tensor:
    """Logits of a member's checkpoint: those of the model that `load_quantized` gives.

    Quantized layers that the forward pass leaves out are decompressed too, after it.

    Args:
        ids: token ids, (rows, tokens).
        precision: see `load_quantized`.

    Returns:
        (rows, tokens, vocabulary), on the device.

    Raises:
        FaqError: the folder cannot be loaded.
        Exception: what decompression or the forward pass of a damaged checkpoint raises; also where a model
            uses weights of a decoder layer without calling the layer.
    """
    import torch

    from faq_pipeline.quantization.compensation.adapter import read_adapter

    model = load_stored(folder, member, device, dequantize=False)
    with quiet_llmcompressor(), torch.no_grad():
        layers = _PackedLayers(model, read_adapter(folder), precision or precision_for(member, device))
        logits: torch.Tensor = model(ids.to(model.device)).logits
        layers.try_others()
    return logits


class _PackedLayers:
    """The layers of a model, whose quantized modules are dense within a layer's forward pass alone.

    Args:
        model: as `load_stored` gives it, with its integers.
        adapter, precision: those of the model that `load_quantized` gives.
    """

    def __init__(self, model: PreTrainedModel, adapter: Mapping[str, LowRank], precision: Precision) -> None:
        from compressed_tensors.quantization import QuantizationStatus

        self._model, self._adapter, self._precision = model, adapter, precision
        self._untried: dict[str, list[str]] = {}
        quantizer: Any = model.hf_quantizer
        quantizer.compressor.remove_decompression_hook(model)  # it would decompress the whole model
        for name, module in model.named_modules():
            if getattr(module, "quantization_status", None) == QuantizationStatus.COMPRESSED:
                self._untried.setdefault(_layer(model, name), []).append(name)
            else:
                self._finish(name)
        for layer, names in self._untried.items():
            self._wrap(layer, names)

    def try_others(self) -> None:
        """Decompress the layers that were not called."""
        for layer, names in list(self._untried.items()):
            with self._dense(layer, names):
                pass

    def _wrap(self, layer: str, names: Sequence[str]) -> None:
        module: Any = self._model.get_submodule(layer)
        forward = module.forward

        @wraps(forward)
        def dense_forward(*args: Any, **kwargs: Any) -> Any:
            with self._dense(layer, names):
                return forward(*args, **kwargs)

        module.forward = dense_forward

    @contextmanager
    def _dense(self, layer: str, names: Sequence[str]) -> Iterator[None]:
        """Within it the quantized modules of a layer, which have these names, are decompressed."""
        from compressed_tensors.compressors import decompress_module
        from compressed_tensors.utils import get_direct_state_dict, replace_direct_state_dict

        modules = [self._model.get_submodule(name) for name in names]
        packed = [get_direct_state_dict(module) for module in modules]
        for name, module in zip(names, modules, strict=True):
            decompress_module(module)
            self._finish(name)
        yield
        for module, tensors in zip(modules, packed, strict=True):
            replace_direct_state_dict(module, tensors)
        self._untried.pop(layer, None)

    def _finish(self, name: str) -> None:
        """Give a dense module's own tensors their precision and their adapter, as `load_quantized` does."""
        from faq_pipeline.quantization.compensation.adapter import add_adapter

        module = self._model.get_submodule(name)
        if self._precision == "float32":
            for tensor in chain(module.parameters(recurse=False), module.buffers(recurse=False)):
                if tensor.is_floating_point():
                    tensor.data = tensor.data.float()
        if name in self._adapter:
            add_adapter(self._model, {name: self._adapter[name]})


def _layer(model: PreTrainedModel, name: str) -> str:
    """The decoder layer that a module is in: the outermost module in a list; itself, if it is in none."""
    from torch.nn import ModuleList

    parts = name.split(".")
    for end in range(1, len(parts)):
        holder, own = ".".join(parts[:end]), ".".join(parts[: end + 1])
        if isinstance(model.get_submodule(holder), ModuleList):
            return own
    return name
