"""Solvers, and adapters for what they lose, on real layers of kin-4m: each one's own inequality, and GPTQ's
bytes without its own term."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import pytest
import torch

from faq_pipeline.config.quantization import Compensation, Quantization
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.linear_parts import linear_parts
from faq_pipeline.models.loading import load_model
from faq_pipeline.quantization.compensation.low_rank import low_rank
from faq_pipeline.quantization.oneshot import run
from faq_pipeline.quantization.solvers.asymmetric import Asymmetric
from faq_pipeline.quantization.solvers.coordinate_descent import CoordinateDescent
from faq_pipeline.quantization.solvers.first_order import FirstOrder, Slope
from faq_pipeline.quantization.solvers.grid import Grid
from faq_pipeline.quantization.solvers.modifier import solver_modifiers
from faq_pipeline.quantization.solvers.protocol import Problem, Solved
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_rows, make_spec
from tests.quantization.layer_problems import layer_error, recorded


def asymmetric_error(problem: Problem, solved: Solved) -> float:
    """|W f - V x|^2 of the unquantized model's inputs f and those so far, x, less what V cannot change."""
    error = (problem.weights - solved.weights)[0].double()
    assert problem.cross is not None
    moved = problem.weights[0].double() @ problem.cross.double()
    return layer_error(problem, solved) + 2 * float((moved * error).sum())


def test_without_its_own_term_gptaq_is_gptq_to_the_byte(problems: list[Problem], plain: list[Solved]) -> None:
    # The first layer's inputs are those of the unquantized model.
    assert [problem.cross is None for problem in problems] == [True] * 7 + [False] * 21
    for problem, made in islice(zip(problems, plain, strict=True), 7, 14):
        assert problem.cross is not None
        nothing = replace(problem, cross=torch.zeros_like(problem.cross))
        for same in (Asymmetric(alpha=0).solve(problem), Asymmetric().solve(nothing)):
            assert torch.equal(same.weights, made.weights)
            assert torch.equal(same.losses, made.losses)


def test_without_its_own_term_foem_is_gptq_to_the_byte(problems: list[Problem], plain: list[Solved]) -> None:
    """Columns of down_proj are more than a block."""
    for problem, made in islice(zip(problems, plain, strict=True), 7):
        same = FirstOrder(beta=0).solve(problem)
        assert torch.equal(same.weights, made.weights)
        assert torch.equal(same.losses, made.losses)


def test_foem_has_about_the_error_of_gptq_in_every_layer(
    problems: list[Problem], plain: list[Solved]
) -> None:
    """It rounds next to no weight otherwise: beta is small beside the Hessians of this model."""
    changed = []
    for problem, before in zip(problems, plain, strict=True):
        after = FirstOrder().solve(problem)
        changed.append(float((after.weights != before.weights).float().mean()))
        assert layer_error(problem, after) <= 1.01 * layer_error(problem, before)
    assert 0 < sum(changed) / len(changed) < 0.01


def test_foem_steps_down_the_slope_of_the_columns_that_are_left() -> None:
    """By the paper's formula, with the inverse of what is left of the Hessian."""
    hessian = torch.tensor([[2.0, 1.0, 0.5], [1.0, 3.0, 1.0], [0.5, 1.0, 2.0]]).double()
    original, moved = torch.tensor([[0.3, -0.2, 0.9], [0.1, 0.2, 0.3]]).double(), torch.ones(2, 3).double()
    term = Slope(0.25, original, torch.linalg.cholesky(hessian.inverse(), upper=True))
    expected = moved.clone()
    expected[:, 1:] -= 0.25 * (moved - original)[:, 1:] @ hessian[1:, 1:].inverse()
    block, weights = moved.clone(), moved.clone()
    term.in_block(block, 0, 0, moved[:, 0])
    term.after_block(weights, 0, 1, moved[:, :1])
    assert torch.allclose(block, expected) and torch.allclose(weights, expected)


def test_gptaq_lowers_the_asymmetric_error(problems: list[Problem], plain: list[Solved]) -> None:
    """In the mean over layers, as a share of GPTQ's error."""
    gains = []
    for problem, before in zip(problems[7:], plain[7:], strict=True):
        lost = asymmetric_error(problem, before) - asymmetric_error(problem, Asymmetric().solve(problem))
        gains.append(lost / layer_error(problem, before))
    assert len(gains) == 21 and sum(gains) > 0


def test_coordinate_descent_lowers_the_error_of_every_layer(
    problems: list[Problem], plain: list[Solved]
) -> None:
    for problem, before in zip(problems, plain, strict=True):
        after = CoordinateDescent(sweeps=1).solve(problem)
        assert layer_error(problem, after, 0.1) < layer_error(problem, before, 0.1)
        assert float(after.losses) == pytest.approx(layer_error(problem, after, 0.1) / 2, rel=1e-3)


def test_no_sweep_raises_the_error(problems: list[Problem], plain: list[Solved]) -> None:
    for problem, before in zip(problems[:4], plain, strict=False):
        made = [before, *(CoordinateDescent(sweeps=n).solve(problem) for n in (1, 2, 3))]
        errors = [layer_error(problem, one, 0.1) for one in made]
        assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(errors))


def test_an_adapter_is_the_best_of_its_rank_in_its_own_norm(
    problems: list[Problem], plain: list[Solved]
) -> None:
    spaces: tuple[Any, ...] = ("plain", "diagonal", "hessian")
    for problem, solved in zip(problems, plain, strict=True):
        error, hessian = (problem.weights - solved.weights)[0].double(), problem.hessians[0].double()

        for norm in spaces:
            none = weighted_error(error, hessian, norm)
            found = {space: uncompensated(error, hessian, space, 8, norm) for space in spaces}
            assert found[norm] == min(found.values()) < none
            assert uncompensated(error, hessian, norm, 16, norm) < found[norm]
            assert uncompensated(error, hessian, norm, min(error.shape), norm) < 1e-9 * none


def uncompensated(error: torch.Tensor, hessian: torch.Tensor, space: Any, rank: int, norm: Any) -> float:
    """What an adapter leaves of an error, in a norm that need not be the one that it was made for."""
    made = low_rank(error, hessian, Compensation(rank=rank, space=space), 0.1)
    return weighted_error(error - made.up @ made.down, hessian, norm)


def weighted_error(error: torch.Tensor, hessian: torch.Tensor, norm: Any) -> float:
    """tr(E S E^T), S being the damped Hessian, its diagonal, or the identity."""
    one = torch.eye(len(hessian), dtype=hessian.dtype)
    damped = hessian + 0.1 * hessian.diagonal().mean() * one
    spaces = {"plain": one, "diagonal": damped * one, "hessian": damped}
    return float((error @ spaces[norm] * error).sum())


def test_a_solver_of_ones_own_rounds_a_model(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that rounds to nearest: no weight is further than half a step from where it was."""

    class Nearest:
        name = "nearest"

        def solve(self, problem: Problem) -> Solved:
            grid = Grid(problem, None)
            columns = [grid.nearest(column, i) for i, column in enumerate(problem.weights[0].unbind(1))]
            return Solved(torch.stack(columns, 1)[None], torch.zeros(1), torch.zeros(1, dtype=torch.bool))

    class Method:
        def modifiers(self, spec: Quantization) -> list[Any]:
            return solver_modifiers(spec, Nearest())

    spec = make_spec("gptq", "W4A16", 64)
    monkeypatch.setattr("faq_pipeline.quantization.oneshot.find_method", lambda name: Method())
    own = run(spec, tiny_cell.target, make_rows(), "cpu", SilentProgress()).model
    original = load_model(tiny_cell.target, "cpu")
    layers = [name for name, part in linear_parts(original).items() if part == "decoder"]
    assert len(layers) == 14
    for name in layers:
        before, after = (model.get_submodule(name) for model in (original, own))
        step = after.weight_scale.float().repeat_interleave(64, 1)
        assert ((before.weight - after.weight).float().abs() <= 0.55 * step).all(), name
        assert not torch.equal(before.weight, after.weight)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_cross_term_is_that_of_both_models(
    weighted: bool, tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: inputs of the second layer, with the first as it was, and as it was rounded."""
    rows = [row[:length] for row, length in zip(make_rows(3, 24), (24, 20, 12), strict=True)]
    more = {"sample_weights": "equal_sequences"} if weighted else {}
    seen = recorded(monkeypatch)
    made = run(make_spec("gptaq", "W3A16", **more), tiny_cell.target, rows, "cpu", SilentProgress()).model
    assert [problem.cross is None for problem in seen] == [True] * 7 + [False] * 7
    full, so_far = load_model(tiny_cell.target, "cpu"), load_model(tiny_cell.target, "cpu")
    for name, weight in so_far.named_parameters():
        if name.startswith("model.layers.0."):
            weight.data = made.get_parameter(name).data
    inputs = [inputs_of(model, "model.layers.1.mlp.up_proj", rows) for model in (full, so_far)]
    cross, hessian = torch.zeros(128, 128).double(), torch.zeros(128, 128).double()
    for f, x, row in zip(*inputs, rows, strict=True):
        weight = sum(map(len, rows)) / len(rows) / len(row) if weighted else 1.0
        cross += 2 * weight * (f - x).T @ x / len(rows)
        hessian += 2 * weight * x.T @ x / len(rows)
    found = [problem for problem in seen[7:] if distance(problem.hessians[0], hessian) < 0.01]
    assert len(found) == 2  # gate and up see the same
    for problem in found:
        assert problem.cross is not None
        # Both models compute in bf16, and the difference of their inputs is small.
        assert distance(problem.cross, cross) < 0.1 < distance(problem.cross, cross.T)


def test_observers_see_the_model_so_far_alone(tiny_cell: Cell) -> None:
    """The first layer is GPTQ's, so that scales of the second one's activations and cache are GPTQ's too."""
    models = [
        run(
            make_spec(method, "FP8", None, kv_cache="fp8"),
            tiny_cell.target,
            make_rows(2),
            "cpu",
            SilentProgress(),
        )
        for method in ("gptq", "gptaq")
    ]
    scales = [
        {
            name: tensor
            for name, tensor in made.model.named_parameters()
            if name.endswith(("input_scale", "k_scale"))
        }
        for made in models
    ]
    assert len(scales[0]) == 16 and scales[0].keys() == scales[1].keys()
    assert all(torch.equal(scales[0][name], scales[1][name]) for name in scales[0])
    layer = "model.layers.1.mlp.up_proj.weight"
    assert not torch.equal(*(made.model.get_parameter(layer) for made in models))


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative to the expected matrix; infinite where the shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float((found.double() - expected).norm() / expected.norm())


def inputs_of(model: torch.nn.Module, module: str, rows: list[list[int]]) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    hook = model.get_submodule(module).register_forward_pre_hook(
        lambda _, inputs: found.append(inputs[0][0].double())
    )
    with torch.no_grad():
        for row in rows:
            model(torch.tensor([row]))
    hook.remove()
    return found
