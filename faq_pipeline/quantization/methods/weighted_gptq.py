"""GPTQ with a Hessian in which tokens count differently."""

from __future__ import annotations

import math
from typing import Any

import torch
from llmcompressor.core import active_session
from llmcompressor.modifiers.gptq import GPTQModifier

from faq_pipeline.activations.layer_names import layer_of
from faq_pipeline.errors import FaqError


class WeightedGPTQModifier(GPTQModifier):  # type: ignore[misc]
    """llmcompressor's GPTQModifier, whose Hessian becomes 2 sum_t w_t x_t x_t^T.

    The weights come with the rows, which llmcompressor sorts by length: in their column `loss_mask`,
    shape (tokens, layers), or (tokens, 1) for all layers. Needs `use_loss_mask` and a batch size of 1.
    """

    def calibrate_module(self, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        """Add a row's input to the module's Hessian, each token scaled by the root of its weight.

        Raises:
            FaqError: the module sees other tokens than the row's (a routed expert's, say).
        """
        name, inputs = self._module_names[module], args[0]
        own = _weights(name)
        if math.prod(inputs.shape[:-1]) != len(own):
            raise FaqError(
                f"{name} sees {math.prod(inputs.shape[:-1])} of a row's {len(own)} tokens, which cannot be"
                " weighed",
                hint="remove quantization.sample_weights and quantization.token_weights",
            )
        roots = own.sqrt().to(inputs.device).reshape(*inputs.shape[:-1], 1)
        super().calibrate_module(module, (inputs.float() * roots, *args[1:]), output)


def _weights(module: str) -> torch.Tensor:
    """Weights of the tokens of the row that goes through the model now, in the module's layer."""
    state = active_session().state
    assert state.loss_masks is not None, "oneshot ran without use_loss_mask"
    weights: torch.Tensor = state.loss_masks[state.current_batch_idx][0]
    return weights[:, layer_of(module) if weights.shape[1] > 1 else 0]
