"""Hessians of a model's linear layers: E[x x^T] of their inputs, as GPTQ has them of a calibration set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from faq_pipeline.activations.linear_inputs import Hook, hooked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHANNELS = 512
"""Most channels of an input that are looked at, evenly spaced. The Hessian is then that of a layer which
reads those channels alone; time and memory grow with the square of it."""


@dataclass
class InputHessian:
    """Sum of x x^T over `tokens` tokens, of one input that the modules `readers` read.

    Attributes:
        products: float32 on the model's device, shape (channels, channels).
        channels: which of the input's channels, int64, shape (channels,).
    """

    products: torch.Tensor
    channels: torch.Tensor
    readers: list[str] = field(default_factory=list)
    tokens: int = 0

    @property
    def mean(self) -> torch.Tensor:
        """E[x x^T], shape (channels, channels)."""
        return self.products / max(self.tokens, 1)

    def on_cpu(self) -> InputHessian:
        """The same, in the CPU's memory."""
        return replace(self, products=self.products.cpu(), channels=self.channels.cpu())


@torch.inference_mode()
def input_hessians(
    model: PreTrainedModel,
    rows: Iterable[list[int]],
    advance: Callable[[int], None],
    channels: int = CHANNELS,
) -> list[InputHessian]:
    """The Hessian of every input of a linear layer (but the output head), in the model's order.

    Rows of token ids go through the model one at a time. Layers that read the same tensor in turn (q, k
    and v, say) have one together. `advance(1)` is told of every row.
    """
    recorder = _Recorder(channels)
    with hooked(model, lambda name, _: recorder.hook(name)):
        for row in rows:
            # The base model ends before the head, whose logits nobody needs here.
            model.base_model(input_ids=torch.tensor([row], device=model.device), use_cache=False)
            advance(1)
    return list(recorder.inputs.values())


class _Recorder:
    """Adds up products of inputs by the first module that reads each."""

    def __init__(self, channels: int) -> None:
        self.inputs: dict[str, InputHessian] = {}
        self._most = channels
        self._seen: torch.Tensor | None = None
        self._last = ""

    def hook(self, name: str) -> Hook:
        def record(module: torch.nn.Module, args: Any) -> None:
            x = args[0]
            if x is self._seen:
                readers = self.inputs[self._last].readers
                if name not in readers:
                    readers.append(name)
                return
            self._seen, self._last = x, name
            self._add(name, x.reshape(-1, x.shape[-1]))

        return record

    def _add(self, name: str, x: torch.Tensor) -> None:
        """Count tokens, shape (tokens, channels of the input)."""
        if name not in self.inputs:
            count = min(self._most, x.shape[-1])
            kept = torch.linspace(0, x.shape[-1] - 1, count, dtype=torch.float64).round().long().to(x.device)
            self.inputs[name] = InputHessian(x.new_zeros(count, count, dtype=torch.float32), kept, [name])
        one = self.inputs[name]
        if len(one.channels) < x.shape[-1]:
            x = x[:, one.channels]
        x = x.float()
        one.products.addmm_(x.T, x)
        one.tokens += len(x)
