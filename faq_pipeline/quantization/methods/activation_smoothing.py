"""llmcompressor's SmoothQuantModifier with scales that activations alone decide."""

from __future__ import annotations

import torch
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier


class ActivationSmoothingModifier(SmoothQuantModifier):  # type: ignore[misc]
    """Divides channel j by the power `smoothing_strength` of its range on the calibration set.

    With strength 1 all channels then have one range: the scale reparametrisation of RepQuant (arXiv
    2402.05628) and of MergeQuant (arXiv 2503.07654). With 0.85 it is the column half of CrossQuant (arXiv
    2410.07505), whose row half the scales of tokens take at run time.
    """

    def _calculate_smoothing_scales(
        self, balance_layers: list[torch.nn.Module], activation_scales: torch.Tensor
    ) -> torch.Tensor:
        """What each channel is divided by, shape (columns,)."""
        return activation_scales.pow(self.smoothing_strength)
