"""Makes a layer's adapter while GPTQ still holds the layer's Hessian, so that no further pass is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from llmcompressor.modifiers.gptq import base as library

from faq_pipeline.config.quantization import OUTLIER_COLUMNS, Compensation
from faq_pipeline.quantization.compensation.low_rank import LowRank, low_rank
from faq_pipeline.quantization.compensation.outlier_columns import free_columns
from faq_pipeline.quantization.solvers.grid import gptq
from faq_pipeline.quantization.solvers.protocol import Problem
from faq_pipeline.util.attributes import replaced_attribute


class Compensator:
    """Collects the adapter of a model that is being quantized.

    One of low rank leaves the layers as they are: with it or without, a recipe gives the same integers. One
    of outlier columns has them rounded in its own way (`rounding`).

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

    @contextmanager
    def rounding(self, name: str) -> Iterator[None]:
        """Within it llmcompressor's GPTQ, or the solver in its place, rounds that module alone."""
        if self._spec.kind != OUTLIER_COLUMNS:
            yield
            return
        quantize = library.quantize_weight  # a solver's, where the method has one

        def leaving_columns_free(
            quant_args: Any, blocksize: int, percdamp: float, **tensors: Any
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            problem = Problem(
                **tensors, cross=None, arguments=quant_args, block=blocksize, dampening=percdamp
            )
            freed = free_columns(problem, lambda own: gptq(own, quantize), self._spec.rank)
            # llmcompressor goes on to store the very tensors that it handed over.
            tensors["scale"].copy_(freed.scale)
            tensors["zero_point"].copy_(freed.zero_point)
            self._keep(name, freed.adapter)
            return freed.solved.weights, freed.solved.losses, freed.solved.fallback

        with replaced_attribute(library, "quantize_weight", leaving_columns_free):
            yield

    def add(
        self, name: str, before: torch.Tensor, rounded: torch.Tensor, hessian: torch.Tensor
    ) -> torch.Tensor:
        """Make the adapter of a layer that was just rounded, unless `rounding` has made it.

        Args:
            before, rounded: its weight.
            hessian: as for `low_rank`.

        Returns:
            The rounded weight with the adapter, float32.
        """
        stored = rounded.to(hessian)
        if self._spec.kind != OUTLIER_COLUMNS:
            made = low_rank(before.to(hessian) - stored, hessian, self._spec, self._dampening)
            self._keep(name, LowRank(made.up.bfloat16(), made.down.bfloat16()))
        return stored + self.adapter[name].product.to(stored)

    def _keep(self, name: str, made: LowRank) -> None:
        self.adapter[name] = LowRank(made.up.cpu(), made.down.cpu())
