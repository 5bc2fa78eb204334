"""GPTQ that also sees what goes into each module in the unquantized model.

Beside the rows' hidden states in the model so far, those in the unquantized model are kept. While
llmcompressor calibrates a decoder layer, which is not rounded yet, each row goes through it twice: first as
the unquantized model has it, then as the model so far has it. That is one forward pass more in all, and
the hidden states are held in main memory once more. Observers of activations see the second pass alone.

Modules outside of decoder layers, and routed experts that do not see all tokens of a row in both passes,
have no cross term.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from llmcompressor.core import Event, State, active_session
from llmcompressor.modifiers.utils.hooks import HooksMixin
from llmcompressor.utils.pytorch.module import infer_sequential_targets
from pydantic import PrivateAttr

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.methods.weighted_gptq import WeightedGPTQModifier
from faq_pipeline.quantization.solvers.modifier import SolvedGPTQModifier, with_solver
from faq_pipeline.quantization.solvers.protocol import Solver
from faq_pipeline.quantization.token_weights import is_weighted


class TwoStreamGPTQModifier(SolvedGPTQModifier):
    """A `SolvedGPTQModifier` whose solver is given cross terms. Needs a batch size of 1."""

    _hidden: dict[int, torch.Tensor] = PrivateAttr(default_factory=dict)
    """By row: what leaves the last layer in the unquantized model."""
    _full_inputs: dict[torch.nn.Module, torch.Tensor] = PrivateAttr(default_factory=dict)
    """What the row that is under way brings to each module in the unquantized model."""
    _crosses: dict[torch.nn.Module, torch.Tensor] = PrivateAttr(default_factory=dict)
    _unpaired: set[torch.nn.Module] = PrivateAttr(default_factory=set)
    _tokens: int = PrivateAttr(default=0)
    _in_full: bool = PrivateAttr(default=False)
    _carrying: bool = PrivateAttr(default=False)
    _own_hooks: set[Any] = PrivateAttr(default_factory=set)
    _layer_hooks: set[Any] = PrivateAttr(default_factory=set)

    def register_hook(self, target: Any, hook: Any, hook_type: str, **kwargs: Any) -> Any:
        """Remember the hooks that watch modules' inputs: observers' hooks are registered here too."""
        handle = super().register_hook(target, hook, hook_type, **kwargs)
        if hook == self.calibrate_module:
            self._own_hooks.add(handle)
        return handle

    def on_calibration_start(self, state: State, event: Event, **kwargs: Any) -> None:
        """Besides what GPTQ does, watch the decoder layers."""
        super().on_calibration_start(state, event, **kwargs)
        kinds = infer_sequential_targets(state.model)
        for layer in state.model.modules():
            if type(layer).__name__ in kinds:
                before = self.register_hook(layer, self._before_layer, "forward_pre", with_kwargs=True)
                self._layer_hooks |= {before, self.register_hook(layer, self._after_layer, "forward")}

    def on_calibration_end(self, state: State, event: Event, **kwargs: Any) -> None:
        """Let go of the hidden states too."""
        super().on_calibration_end(state, event, **kwargs)
        self._hidden.clear()

    @contextmanager
    def carrying(self) -> Iterator[None]:
        """While rows go through a layer that need not be calibrated, keep what leaves it and nothing else."""
        self._carrying = True
        try:
            with HooksMixin.disable_hooks(keep=self._layer_hooks):
                yield
        finally:
            self._carrying = False

    def calibrate_module(self, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        """Keep the input of the unquantized model, or add to the Hessian and the cross term."""
        inputs = args[0].reshape(-1, args[0].shape[-1])
        if self._in_full:
            self._full_inputs[module] = inputs
            return
        super().calibrate_module(module, args, output)
        full = self._full_inputs.pop(module, None)
        if full is None or not len(full) == len(inputs) == self._tokens:
            self._unpaired.add(module)
            return
        own = inputs.to(self._hessians[module])
        term = 2 * (full.to(own) - own).T @ own
        self._crosses[module] = self._crosses[module] + term if module in self._crosses else term

    def take_cross(self, module: torch.nn.Module) -> torch.Tensor | None:
        """None in the first layer, whose inputs are those of the unquantized model, and see above."""
        cross = self._crosses.pop(module, None)
        if cross is None or module in self._unpaired:
            return None
        return cross / self._num_samples[module]

    def _before_layer(self, layer: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Send the row through the layer as the unquantized model has it, but for the first layer."""
        if self._in_full:
            return
        own = args[0] if args else kwargs["hidden_states"]
        self._tokens = math.prod(own.shape[:-1])
        full = self._hidden.get(active_session().state.current_batch_idx)
        if full is None:
            return
        full = full.to(own)
        if args:
            args = (full, *args[1:])
        else:
            kwargs = {**kwargs, "hidden_states": full}
        self._in_full = True
        try:
            # Such blocks do not nest: the end of the inner one would let all hooks run.
            with nullcontext() if self._carrying else HooksMixin.disable_hooks(keep=self._own_hooks):
                output = layer(*args, **kwargs)
        finally:
            self._in_full = False
        self._keep(output)

    def _after_layer(self, layer: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """What leaves the first layer is what leaves it in the unquantized model."""
        if not self._in_full and active_session().state.current_batch_idx not in self._hidden:
            self._keep(output)

    def _keep(self, output: Any) -> None:
        hidden: torch.Tensor = output[0] if isinstance(output, tuple) else output
        self._hidden[active_session().state.current_batch_idx] = hidden.cpu()


class WeightedTwoStreamGPTQModifier(WeightedGPTQModifier, TwoStreamGPTQModifier):
    """The same, with weights of tokens: both streams are scaled by their roots."""


def two_stream_modifiers(spec: Quantization, solver: Solver) -> list[Any]:
    """As `solver_modifiers`, for a solver that reads `Problem.cross`."""
    kind = WeightedTwoStreamGPTQModifier if is_weighted(spec) else TwoStreamGPTQModifier
    return [with_solver(kind, spec, solver)]
