"""GPTQ with a Hessian in which tokens count differently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from llmcompressor.core import active_session
from llmcompressor.modifiers.gptq import GPTQModifier
from pydantic import PrivateAttr

from faq_pipeline.errors import FaqError
from faq_pipeline.models.layer_names import layer_of


class WeightedGPTQModifier(GPTQModifier):  # type: ignore[misc]
    """llmcompressor's GPTQModifier, whose Hessian becomes 2 sum_t w_t x_t x_t^T."""

    _token_weights: Sequence[torch.Tensor] = PrivateAttr(default=())

    def weigh(self, rows: Sequence[torch.Tensor]) -> None:
        """Give each row its weights, shape (layers, tokens), or (1, tokens) for all layers.

        Must be called before the run, whose rows come one a batch in this order.
        """
        self._token_weights = rows

    def calibrate_module(self, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        """Add a row's input to the module's Hessian, each token scaled by the root of its weight.

        Raises:
            FaqError: the module sees other tokens than the row's (a routed expert's, say).
        """
        name, inputs = self._module_names[module], args[0]
        weights = self._token_weights[active_session().state.current_batch_idx]
        own = weights[layer_of(name) if len(weights) > 1 else 0]
        if math.prod(inputs.shape[:-1]) != len(own):
            raise FaqError(
                f"{name} sees {math.prod(inputs.shape[:-1])} of a row's {len(own)} tokens, which cannot be"
                " weighed",
                mend="remove quantization.sample_weights and quantization.token_weights",
            )
        roots = own.sqrt().to(inputs.device).reshape(*inputs.shape[:-1], 1)
        super().calibrate_module(module, (inputs.float() * roots, *args[1:]), output)
