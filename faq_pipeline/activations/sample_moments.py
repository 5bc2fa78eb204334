"""Second moments of the inputs of a model's linear layers, per sample, for many samples in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from faq_pipeline.activations.linear_inputs import Hook, hooked
from faq_pipeline.models.batches import by_length, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Input:
    """What one or more linear layers read: `name` is the first that does (q_proj, say, for q, k and v)."""

    name: str
    channels: int
    readers: int


@dataclass(frozen=True)
class SampleMoments:
    """Moments of some samples.

    Attributes:
        samples: which samples, as indices into those given.
        tokens: how many tokens each has, shape (samples,).
        squares: E[x^2] over a sample's own tokens, float32 on the CPU, shape (samples, channels): the
            channels of all inputs, one input after the other.
        inputs: those inputs, in the model's order.
    """

    samples: list[int]
    tokens: torch.Tensor
    squares: torch.Tensor
    inputs: tuple[Input, ...]


@torch.inference_mode()
def sample_moments(
    model: PreTrainedModel, samples: Sequence[Sequence[int]], advance: Callable[[int], None]
) -> Iterator[SampleMoments]:
    """Moments of every sample (token ids, none empty), a batch at a time, shortest samples first.

    All linear layers count but the output head, and but those of routed experts, whose tokens no
    longer tell which sample they are of. Memory is that of one batch, however many samples there are.
    """
    recorder = _Recorder()
    with hooked(model, lambda name, _: recorder.hook(name)):
        for batch in by_length([len(ids) for ids in samples]):
            ids = padded([samples[i] for i in batch], model.device)
            tokens = torch.tensor([len(samples[i]) for i in batch])
            recorder.expect(tokens.to(model.device), ids.shape[1])
            # The base model ends before the head, whose logits nobody needs here.
            model.base_model(input_ids=ids, use_cache=False)
            yield recorder.moments(batch, tokens)
            advance(len(batch))


class _Recorder:
    """Mean squares of one batch; layers that read the same tensor in turn share the work."""

    def expect(self, tokens: torch.Tensor, width: int) -> None:
        """A batch of samples of so many tokens each, padded to `width`."""
        counted = torch.arange(width, device=tokens.device) < tokens[:, None]
        # One row a sample, 1/n at its n tokens and 0 at padding: times the squares it is their mean.
        self._shares = (counted / tokens[:, None]).unsqueeze(1)
        self._seen: torch.Tensor | None = None
        self._inputs: list[Input] = []
        self._means: list[torch.Tensor] = []

    def hook(self, name: str) -> Hook:
        def record(module: torch.nn.Module, args: Any) -> None:
            x = args[0]
            if x is self._seen:
                last = self._inputs[-1]
                self._inputs[-1] = Input(last.name, last.channels, last.readers + 1)
            elif x.ndim == 3 and (x.shape[0], 1, x.shape[1]) == tuple(self._shares.shape):
                self._seen = x
                self._inputs.append(Input(name, x.shape[-1], 1))
                self._means.append(torch.bmm(self._shares, x.float().square()).squeeze(1))

        return record

    def moments(self, samples: list[int], tokens: torch.Tensor) -> SampleMoments:
        """What was recorded of the batch."""
        squares = torch.cat(self._means, dim=1).cpu()
        self._seen, self._means = None, []
        return SampleMoments(samples, tokens, squares, tuple(self._inputs))
