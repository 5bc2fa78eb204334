"""Second moments of the inputs of a model's linear layers, per channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from faq_pipeline.activations.linear_inputs import Hook, hooked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass
class Moments:
    """Sum of squares per input channel (float64, shape (channels,)) over `tokens` tokens."""

    squares: torch.Tensor
    tokens: int = 0

    @property
    def mean(self) -> torch.Tensor:
        """E[x^2] per channel, shape (channels,), float64 on the CPU."""
        return (self.squares / max(self.tokens, 1)).cpu()


@torch.inference_mode()
def input_moments(
    model: PreTrainedModel, rows: Iterable[list[int]], advance: Callable[[int], None]
) -> dict[str, Moments]:
    """Moments of the inputs of every linear layer but the output head, by module name.

    Rows of token ids go through the model one at a time, so there is no padding to leave out, and
    memory does not depend on how many rows there are. `advance(1)` is told of every row.
    """
    recorder, moments = _Recorder(), dict[str, Moments]()

    def hook(name: str, module: torch.nn.Linear) -> Hook:
        empty = torch.zeros(module.in_features, dtype=torch.float64, device=module.weight.device)
        moments[name] = Moments(empty)
        return recorder.hook(moments[name])

    with hooked(model, hook):
        for row in rows:
            ids = torch.tensor([row], device=model.device)
            # The base model ends before the head, whose logits nobody needs here.
            model.base_model(input_ids=ids, use_cache=False)
            advance(1)
    return moments


class _Recorder:
    """Adds up squares; layers that read the same tensor in turn (q, k and v, say) share the work."""

    def __init__(self) -> None:
        self._seen: torch.Tensor | None = None
        self._squares: torch.Tensor | None = None

    def hook(self, moments: Moments) -> Hook:
        def record(module: torch.nn.Module, args: Any) -> None:
            x = args[0]
            moments.squares += self._sum(x)
            moments.tokens += x.numel() // x.shape[-1]

        return record

    def _sum(self, x: torch.Tensor) -> torch.Tensor:
        if self._squares is None or x is not self._seen:
            squares = x.reshape(-1, x.shape[-1]).float().square().sum(0)
            self._seen, self._squares = x, squares.double()
        return self._squares
