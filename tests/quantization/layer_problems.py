"""Layers as solvers are given them, and what is measured of their solutions."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice

import pytest
import torch

from faq_pipeline.models.loading import load_tokenizer
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.solvers.asymmetric import Asymmetric
from faq_pipeline.quantization.solvers.protocol import Problem, Solved
from faq_pipeline.settings import REPOSITORY

SETTINGS = {"observer": "imatrix", "actorder": "static", "dampening": 0.1}
"""What our recipes quantize with."""


def recorded(patch: pytest.MonkeyPatch) -> list[Problem]:
    """The problems that GPTAQ is going to be given."""
    seen: list[Problem] = []
    solve = Asymmetric.solve

    def recording(self: Asymmetric, problem: Problem) -> Solved:
        seen.append(replace(problem, weights=problem.weights.clone()))
        return solve(self, problem)

    patch.setattr(Asymmetric, "solve", recording)
    return seen


def seeds(weights: Weights, count: int) -> list[list[int]]:
    """The first seeds of the member's family as token ids."""
    tokenizer = load_tokenizer(weights)
    with (REPOSITORY / "data/seeds/kin-mixed.jsonl").open(encoding="utf-8") as file:
        return [tokenizer(json.loads(line)["text"])["input_ids"] for line in islice(file, count)]


def row_errors(problem: Problem, solved: Solved, dampening: float = 0.0) -> torch.Tensor:
    """e H e^T of each row e of what rounding did to the weights, shape (rows,)."""
    hessian = problem.hessians[0].double()
    hessian = hessian + dampening * hessian.diagonal().mean() * torch.eye(len(hessian))
    error = (problem.weights - solved.weights)[0].double()
    return ((error @ hessian) * error).sum(1)


def layer_error(problem: Problem, solved: Solved, dampening: float = 0.0) -> float:
    """tr(E H E^T), E being what rounding did to the weights."""
    return float(row_errors(problem, solved, dampening).sum())
