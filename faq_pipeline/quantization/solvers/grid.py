"""A layer's grid and its columns in the order in which they are solved."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from compressed_tensors.quantization import QuantizationStrategy, fake_quantize
from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight
from llmcompressor.modifiers.gptq.helpers import column_scale_window

from faq_pipeline.quantization.solvers.protocol import Problem, Solved


class Grid:
    """Rounds columns of a layer, each with the scales of its group."""

    def __init__(self, problem: Problem, order: torch.Tensor | None) -> None:
        """
        Args:
            order: the columns in the order in which they are solved, shape (columns,); None: as they are.
        """
        rows, columns = problem.weights.shape[-2:]
        arguments = problem.arguments
        width = arguments.group_size
        if arguments.strategy == QuantizationStrategy.BLOCK:
            assert arguments.block_structure is not None
            width = arguments.block_structure[1]
        groups = None
        if arguments.strategy not in (QuantizationStrategy.TENSOR, QuantizationStrategy.CHANNEL):
            assert width is not None
            groups = torch.arange(columns, device=problem.weights.device) // width
            groups = (groups if order is None else groups[order]).unsqueeze(0)
        scales, zeros = column_scale_window(
            problem.scale,
            problem.zero_point,
            problem.global_scale,
            groups,
            arguments,
            num_rows=rows,
            i1=0,
            i2=columns,
        )
        self._scales, self._zeros = scales[0], None if zeros is None else zeros[0]
        self._arguments = copy(arguments)
        self._arguments.strategy = QuantizationStrategy.CHANNEL

    @property
    def steps(self) -> torch.Tensor:
        """The scale of each weight, shape (rows, columns), float32."""
        return self._scales.float()

    def nearest(self, values: torch.Tensor, column: int) -> torch.Tensor:
        """The values of one column, shape (rows,), rounded to its grid."""
        return self._rounded(values[:, None], slice(column, column + 1))[:, 0]

    def all_nearest(self, values: torch.Tensor) -> torch.Tensor:
        """The values of all columns, shape (rows, columns), rounded to their grids."""
        return self._rounded(values, slice(None))

    def _rounded(self, values: torch.Tensor, columns: slice) -> torch.Tensor:
        zeros = None if self._zeros is None else self._zeros[:, columns]
        rounded: torch.Tensor = fake_quantize(values, self._scales[:, columns], zeros, self._arguments)
        return rounded.to(values.dtype)


def gptq(problem: Problem, quantize: Callable[..., Any] = quantize_weight) -> Solved:
    """The problem as llmcompressor's own GPTQ solves it, or what stands in its place."""
    made: tuple[torch.Tensor, ...] = quantize(
        weights=problem.weights.clone(),
        hessians=problem.hessians.clone(),
        scale=problem.scale,
        zero_point=problem.zero_point,
        global_scale=problem.global_scale,
        quant_args=problem.arguments,
        blocksize=problem.block,
        percdamp=problem.dampening,
    )
    weights, losses, fallback = made
    return Solved(weights, losses, fallback)
