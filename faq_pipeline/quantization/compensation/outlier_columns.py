"""Outlier columns: those in which rounding loses most stay free while the others are rounded.

E is the weight less the rounded weight, H the dampened Hessian, F the free columns and K the others. For any
E_K the layer error tr(E H E^T) is least with E_F = -E_K H_KF H_FF^-1, and is then tr(E_K S E_K^T) with the
Schur complement

    S = H_KK - H_KF H_FF^-1 H_FK,

so that the others are rounded with S for a Hessian. The free columns become W_F - E_F: their rounded values,
and on top of them an adapter whose `down` is one-hot.

Outliers beside the integers are SpQR's (arXiv 2306.03078); whole columns of them, in a solver, QuantEase's
(arXiv 2309.01885). How they are chosen, the closed form and the adapter are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from compressed_tensors.quantization import QuantizationScheme
from llmcompressor.modifiers.quantization.calibration import initialize_observer, observe
from llmcompressor.observers import IMatrixMSEObserver

from faq_pipeline.quantization.compensation.low_rank import LowRank
from faq_pipeline.quantization.solvers.coordinate_descent import dampen
from faq_pipeline.quantization.solvers.grid import Grid
from faq_pipeline.quantization.solvers.protocol import Problem, Solved

Solve = Callable[[Problem], Solved]


@dataclass(frozen=True)
class Freed:
    """A layer with free columns.

    Attributes:
        solved: all columns on their grid.
        scale, zero_point: of that grid, as the problem's.
        columns: the free ones, shape (rank,), the one that loses most first.
        adapter: what they have on top of their rounded values, bf16.
    """

    solved: Solved
    scale: torch.Tensor
    zero_point: torch.Tensor
    columns: torch.Tensor
    adapter: LowRank


@dataclass(frozen=True)
class _Elimination:
    """What is left of the Hessian once free columns are eliminated from it.

    Attributes:
        root: lower triangular, root root^T = H_FF.
        half: root^-1 H_F, shape (rank, columns).
        schur: S, with zeros in the rows and columns of F.
    """

    root: torch.Tensor
    half: torch.Tensor
    schur: torch.Tensor

    def free(self, error: torch.Tensor) -> torch.Tensor:
        """-E_F for an error that is zero in F."""
        return torch.linalg.solve_triangular(self.root, error @ self.half.T, upper=False, left=False)

    def error(self, error: torch.Tensor) -> float:
        """tr(E_K S E_K^T)."""
        return float(((error @ self.schur) * error).sum())


def free_columns(problem: Problem, solve: Solve, rank: int) -> Freed:
    """Solve a layer with free columns: once to choose them, by ||E_j||^2 H_jj, and once without them.

    Of the two results, the one with the lesser error counts: the error never exceeds that of `solve` alone,
    nor that of the same integers with fewer free columns. A layer that `solve` gave up gets an adapter of
    zeros.

    Args:
        problem: without a cross term, of a grid of integers.
        rank: how many, less than the layer has columns.
    """
    trial = solve(problem)
    weight, hessian = problem.weights[0].clone(), problem.hessians[0].clone()
    weight[:, hessian.diagonal() == 0] = 0  # as GPTQ does
    error = weight - trial.weights[0]
    columns = (error.square().sum(0) * hessian.diagonal()).argsort(descending=True, stable=True)[:rank]
    if bool(trial.fallback):
        nothing = torch.zeros_like(weight[:, columns])
        return Freed(trial, problem.scale, problem.zero_point, columns, _adapter(nothing, columns, weight))
    importance = hessian.diagonal().clone()
    dampen(hessian, problem.dampening)
    elimination = _eliminated(hessian, columns)
    kept = weight.index_fill(1, columns, 0)
    scale, zero_point = _observed(problem, kept, importance)
    # A column whose Hessian is zero is left out by GPTQ, and S is dampened already.
    reduced = replace(
        problem,
        weights=kept[None],
        hessians=elimination.schur[None],
        scale=scale,
        zero_point=zero_point,
        dampening=0.0,
    )
    solved = solve(reduced)
    error = error.index_fill(1, columns, 0)
    own = (kept - solved.weights[0]).index_fill(1, columns, 0)
    if elimination.error(own) <= elimination.error(error):
        error = own
    else:
        solved, reduced = trial, problem
    exact = weight[:, columns] + elimination.free(error)
    rounded, grid = solved.weights.clone(), Grid(reduced, None)
    for values, column in zip(exact.unbind(1), columns.tolist(), strict=True):
        rounded[0, :, column] = grid.nearest(values, column)
    adapter = _adapter(exact - rounded[0, :, columns], columns, weight)
    return Freed(replace(solved, weights=rounded), reduced.scale, reduced.zero_point, columns, adapter)


def _eliminated(hessian: torch.Tensor, columns: torch.Tensor) -> _Elimination:
    """Overwrites the Hessian, which is dampened."""
    own = hessian[columns]
    root = torch.linalg.cholesky(own[:, columns])
    half = torch.linalg.solve_triangular(root, own, upper=False)
    schur = hessian.addmm_(half.T, half, alpha=-1).index_fill_(0, columns, 0).index_fill_(1, columns, 0)
    return _Elimination(root, half, schur)


def _adapter(up: torch.Tensor, columns: torch.Tensor, weight: torch.Tensor) -> LowRank:
    down = torch.nn.functional.one_hot(columns, weight.shape[1])
    return LowRank(up.bfloat16(), down.to(torch.bfloat16))


def _observed(
    problem: Problem, kept: torch.Tensor, importance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales and zero points that the problem's own observer finds for the columns that are kept.

    Args:
        kept: zero in the other columns; no observer minds zeros, which every grid has.
        importance: what an imatrix observer weighs columns by. It has thrown its own away by now, and the
            Hessian's diagonal is the same but for a factor (and for weights of tokens, which it has too).
    """
    module = torch.nn.Module()
    module.quantization_scheme = QuantizationScheme(targets=[], weights=problem.arguments)
    module.weight = torch.nn.Parameter(kept.to(problem.scale.dtype), requires_grad=False)
    initialize_observer(module, "weight")
    observer: Any = module.weight_observer
    if isinstance(observer, IMatrixMSEObserver):
        # Columns that are always zero are zero in `kept`. With ones for them the sum is never all zero.
        observer._imatrix_sum = importance.masked_fill(importance == 0, 1)
        observer._imatrix_count = torch.ones((), dtype=torch.int64)
    observe(module, "weight")
    found = observer.get_qparams()
    return found["scale"][None], found["zero_point"][None]
