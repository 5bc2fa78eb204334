"""Makes a layer's adapter while GPTQ still holds the layer's Hessian, so that no further pass is needed."""

from __future__ import annotations

from collections.abc import Collection

import torch

from faq_pipeline.config.quantization import Compensation
from faq_pipeline.quantization.compensation.low_rank import LowRank, low_rank


class Compensator:
    """Collects the adapter of a model that is being quantized.

    The layers are left as they are: with an adapter or without, a recipe gives the same integers.

    Attributes:
        adapter: of the layers so far, by module, in bf16 and in main memory.
    """

    def __init__(self, spec: Compensation, dampening: float, modules: Collection[str]) -> None:
        """
        Args:
            dampening: see `low_rank`.
            modules: those that get an adapter.
        """
        self._spec, self._dampening, self._modules = spec, dampening, frozenset(modules)
        self.adapter: dict[str, LowRank] = {}

    def wants(self, name: str) -> bool:
        """Whether the module gets an adapter."""
        return name in self._modules

    def add(
        self, name: str, before: torch.Tensor, rounded: torch.Tensor, hessian: torch.Tensor
    ) -> torch.Tensor:
        """Make the adapter of a layer that was just rounded.

        Args:
            before, rounded: its weight.
            hessian: as for `low_rank`.

        Returns:
            The rounded weight with the adapter, float32.
        """
        stored = rounded.to(hessian)
        made = low_rank(before.to(hessian) - stored, hessian, self._spec, self._dampening)
        made = LowRank(made.up.bfloat16(), made.down.bfloat16())
        self.adapter[name] = LowRank(made.up.cpu(), made.down.cpu())
        return stored + made.product
