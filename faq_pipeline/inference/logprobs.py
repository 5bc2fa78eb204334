"""Records the log-probabilities of sampled tokens while `generate` runs."""

from __future__ import annotations

import torch


class ChosenLogProbs:
    """A logits processor that changes nothing and records the log-probability of each sampled token.

    A custom processor of `generate` runs before temperature and top-p, so it sees the model's own
    distribution. What was chosen is known only one step later: each step looks the last token up
    in the logits of the step before, so that one (batch, vocabulary) tensor is kept, and one
    (batch,) vector a step.
    """

    def __init__(self) -> None:
        self._logits: torch.Tensor | None = None
        self._steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Called by `generate`: ids (batch, length so far), logits (batch, vocabulary) in float32."""
        self._note(input_ids[:, -1])
        self._logits = scores
        return scores

    def sums(self, continuations: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Summed log-probability (nats) of each continuation's first `lengths` tokens.

        Args:
            continuations: what `generate` returned, without the prompts: (batch, steps).
            lengths: (batch,).
        """
        steps = continuations.shape[1]
        if len(self._steps) < steps:
            self._note(continuations[:, -1])
        each = torch.stack(self._steps[:steps], dim=1).double()
        counted = torch.arange(steps, device=each.device) < lengths[:, None]
        # Not a product: after the end a pad token may have probability zero.
        return torch.where(counted, each, 0.0).sum(dim=1)

    def _note(self, chosen: torch.Tensor) -> None:
        if self._logits is not None:
            picked = self._logits.gather(1, chosen[:, None]).squeeze(1)
            self._steps.append(picked - self._logits.logsumexp(dim=-1))
