"""llmcompressor's AutoRoundModifier, mended where its results would not be those that are stored."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy
import torch
from auto_round.context import model as context
from auto_round.context.compress import CompressContext
from compressed_tensors.offload import get_execution_device
from llmcompressor.modifiers import autoround as library
from pydantic import PrivateAttr

from faq_pipeline.util.attributes import replaced_attribute

IGNORED = -100
"""auto-round's mark of a token that does not count in the error."""


class AutoRoundModifier(library.AutoRoundModifier):  # type: ignore[misc]
    """The library's modifier of the same name, with these differences.

    The name matters: llmcompressor's pipeline looks for it, and then each decoder layer is learned on its
    inputs in the model that is quantized so far, against its outputs in the unquantized model.

    - Scales are learned in bf16, as they are stored, and not in float16.
    - Positions that pad rows to one length do not count in the error.
    - Zero points are those that were learned; the library leaves them at zero.
    - Ranges of activations that were learned are not left in the layer: their scales hold them.
    - A layer keeps its dtype. On a CPU without bf16 arithmetic auto-round leaves it in float32, and the
      next layer of the model fails on that.
    - Modules of the layer stay what they are; auto-round would take apart experts that a recipe leaves out.
    - It runs on the layer's own device, and not on the first GPU that there is.
    - What auto-round sets in the process is set back: see `set_back`.
    """

    _device: torch.device = PrivateAttr(default=torch.device("cpu"))

    def apply_autoround(self, state: Any, modules: list[torch.nn.Module] | None) -> None:
        """Learn the decoder layer among the modules of a step, if there is one."""
        layers = [module for module in modules or () if self._is_decoding_layer(module)]
        stored = [{name: p.dtype for name, p in layer.named_parameters()} for layer in layers]
        if layers:
            self._device = get_execution_device(layers[0])
        with set_back(), replaced_attribute(context, "update_module", lambda model, **_: model):
            super().apply_autoround(state, modules)
        for layer, dtypes in zip(layers, stored, strict=True):
            for name, parameter in list(layer.named_parameters()):
                module, _, own = name.rpartition(".")
                if name not in dtypes:
                    delattr(layer.get_submodule(module), own)
                elif parameter.dtype != dtypes[name]:
                    parameter.data = parameter.data.to(dtypes[name])

    def _update_device_map_for_dp(self, ar_kwargs: dict[str, Any]) -> None:
        """The library's last step before it makes an AutoRound of these arguments."""
        super()._update_device_map_for_dp(ar_kwargs)
        device = str(self._device)
        ar_kwargs |= {"device_map": device, "scale_dtype": "bf16", "trust_remote_code": False}

    def _set_attention_masks(
        self, autoround: Any, block: Any, captured_inputs: Any, padded_masks: list[torch.Tensor] | None = None
    ) -> None:
        """Has auto-round leave out padding, which it knows by its input ids alone.

        Args:
            padded_masks: for each row shape (1, tokens), 1 where it has a token; None where none is padded.
        """
        super()._set_attention_masks(autoround, block, captured_inputs, padded_masks)
        if padded_masks is not None:
            autoround.post_init()
            ids = [torch.where(mask.bool(), 0, IGNORED) for mask in padded_masks]
            composer = autoround.alg_composer
            composer.compress_block = partial(composer.compress_block, input_ids=ids)

    def _postprocess_qparams(
        self, model: torch.nn.Module, llmc_registered_qparams: dict[str, dict[str, torch.Tensor]]
    ) -> None:
        """Takes over learned zero points, from 0 .. 2^b - 1 to compressed-tensors' -2^(b-1) and up."""
        for name, module in model.named_modules():
            arguments = _weight_arguments(module)
            if arguments is not None and not arguments.symmetric:
                own = llmc_registered_qparams[name]
                shape, half = own["weight_zero_point"], 2 ** (arguments.num_bits - 1)
                own["weight_zero_point"] = (module.zp - half).to(shape).reshape(shape.shape)
        super()._postprocess_qparams(model, llmc_registered_qparams)


def _weight_arguments(module: torch.nn.Module) -> Any:
    """How the module's weight is rounded; None where it is not."""
    scheme = getattr(module, "quantization_scheme", None)
    return None if scheme is None else scheme.weights


@contextmanager
def set_back() -> Iterator[None]:
    """Set back what auto-round sets in the process and leaves: seeds, PyTorch's choice of deterministic
    operations and its form of printing, a variable of cuBLAS, and references to the layer."""
    python, arrays = random.getstate(), numpy.random.get_state()
    variables: Mapping[str, str] = dict(os.environ)
    printing = {**vars(torch._tensor_str.PRINT_OPTS)}
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(arrays)
        for name in set(os.environ) - set(variables):
            del os.environ[name]
        vars(torch._tensor_str.PRINT_OPTS).update(printing)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        CompressContext.reset_context()
        context.ModelContext.reset_context()
