"""llmcompressor's GPTQModifier with another solver: it observes, accumulates Hessians and saves as before.

Scales that a solver returns take the place of the observer's where llmcompressor writes a module's weight
and scales. Whatever reads them later (forward passes, reports, the journal, the checkpoint) reads them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.gptq import base as library
from llmcompressor.modifiers.gptq.helpers import update_batch_qparams
from pydantic import PrivateAttr

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.quantization.methods.gptq import settings
from faq_pipeline.quantization.methods.weighted_gptq import WeightedGPTQModifier
from faq_pipeline.quantization.solvers.protocol import Problem, Solved, Solver
from faq_pipeline.quantization.token_weights import is_weighted
from faq_pipeline.util.attributes import replaced_attribute


class SolvedGPTQModifier(GPTQModifier):  # type: ignore[misc]
    """GPTQModifier that leaves the choice of integers and scales to a solver. See `solver_modifiers`.

    Attributes:
        solver: its name, for `recipe.yaml`.
    """

    solver: str
    _solver: Solver = PrivateAttr()

    def compress_module_list(self, module_list: Sequence[torch.nn.Module]) -> None:
        """Solve the modules one by one."""
        for module in module_list:
            cross = self.take_cross(module)
            made: list[Solved] = []

            def solve(
                weights: torch.Tensor,
                hessians: torch.Tensor,
                quant_args: Any,
                blocksize: int,
                percdamp: float,
                cross: torch.Tensor | None = cross,
                made: list[Solved] = made,
                **qparams: Any,
            ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
                problem = Problem(
                    weights,
                    hessians,
                    cross,
                    arguments=quant_args,
                    block=blocksize,
                    dampening=percdamp,
                    **qparams,
                )
                solved = self._solver.solve(problem)
                made.append(solved)
                return solved.weights, solved.losses, solved.fallback

            def update(
                modules: list[torch.nn.Module],
                quantized: torch.Tensor,
                scales: torch.Tensor,
                *others: Any,
                made: list[Solved] = made,
            ) -> None:
                own = made[-1].scale
                update_batch_qparams(modules, quantized, scales if own is None else own, *others)

            with (
                replaced_attribute(library, "quantize_weight", solve),
                replaced_attribute(library, "update_batch_qparams", update),
            ):
                super().compress_module_list([module])

    def take_cross(self, module: torch.nn.Module) -> torch.Tensor | None:
        """The module's cross term, see `Problem`; the modifier parts with it."""
        return None


class WeightedSolvedGPTQModifier(WeightedGPTQModifier, SolvedGPTQModifier):
    """The same, with weights of tokens."""


def solver_modifiers(spec: Quantization, solver: Solver) -> list[Any]:
    """The modifiers of a method that is GPTQ with another solver, with the recipe's settings of GPTQ."""
    kind = WeightedSolvedGPTQModifier if is_weighted(spec) else SolvedGPTQModifier
    return [with_solver(kind, spec, solver)]


def with_solver(kind: type[SolvedGPTQModifier], spec: Quantization, solver: Solver) -> SolvedGPTQModifier:
    """A modifier of that kind for the recipe."""
    modifier = kind(**settings(spec), solver=solver.name)
    modifier._solver = solver
    return modifier
