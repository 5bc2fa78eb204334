"""Outlier columns on real layers of kin-4m: what must hold by construction, and what held when measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from llmcompressor.observers import Observer

from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import Compensation
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.weights import find_weights
from faq_pipeline.quantization.compensation.outlier_columns import Freed, free_columns
from faq_pipeline.quantization.oneshot import quantize, run
from faq_pipeline.quantization.solvers.coordinate_descent import CoordinateDescent, dampen
from faq_pipeline.quantization.solvers.grid import Grid, gptq
from faq_pipeline.quantization.solvers.protocol import Problem, Solved
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_rows, make_spec
from tests.quantization.layer_problems import SETTINGS, layer_error, recorded, seeds

DAMPENING = SETTINGS["dampening"]
CASES = {
    "static order": ("channel", SETTINGS),
    "groups": (128, {**SETTINGS, "actorder": "weight"}),
    "columns as they come": (128, {**SETTINGS, "actorder": None, "observer": "mse"}),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def problems(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Problem]:
    """Each layer of kin-4m at 3 bits per channel, some of them in groups, on a few of its seeds."""
    group, settings = request.param
    member = Member(name="kin-4m", path=REPOSITORY / "data/models/kin-4m", parameters=3_672_832)
    weights = find_weights(member, tmp_path_factory.mktemp("digests"))
    spec = make_spec("gptaq", "W3A16", group, **settings)  # the method whose problems can be watched
    with pytest.MonkeyPatch.context() as patch:
        seen = recorded(patch)
        run(spec, weights, seeds(weights, 8), "cpu", SilentProgress())
    assert len(seen) == 28
    return [replace(problem, cross=None) for problem in seen[:: 1 if group == "channel" else 4]]


def with_adapter(freed: Freed) -> Solved:
    return replace(freed.solved, weights=freed.solved.weights + freed.adapter.product)


def best_answer(problem: Problem, solved: Solved, columns: torch.Tensor) -> float:
    """The least error that values of the free columns can give the other columns of a result."""
    hessian = problem.hessians[0].double()
    dampen(hessian, problem.dampening)
    own = hessian[columns][:, columns]
    reduced = hessian - hessian[:, columns] @ torch.linalg.solve(own, hessian[columns])
    error = (problem.weights - solved.weights)[0].double()
    error[:, columns] = 0
    return float(((error @ reduced) * error).sum())


def test_the_error_never_exceeds_that_without_free_columns(problems: list[Problem]) -> None:
    """By construction it is at most that of GPTQ's integers with the same columns free, which is at most
    GPTQ's and falls with their number. That its own falls too does not follow, but did on all layers."""
    for problem in problems:
        before = gptq(problem)
        made = {rank: free_columns(problem, gptq, rank) for rank in (4, 16)}
        errors = [layer_error(problem, before, DAMPENING)]
        bounds = [errors[0]]
        for freed in made.values():
            errors.append(layer_error(problem, with_adapter(freed), DAMPENING))
            assert layer_error(problem, freed.solved, DAMPENING) > errors[0]  # the weights need the adapter
            bounds.append(best_answer(problem, before, freed.columns))
        assert all(error <= bound * (1 + 1e-4) for error, bound in zip(errors, bounds, strict=True))
        assert all(more < fewer for fewer, more in pairwise(bounds))
        assert all(more < fewer for fewer, more in pairwise(errors))
        assert torch.equal(made[4].columns, made[16].columns[:4])


def test_free_columns_answer_as_well_as_any_values_can(problems: list[Problem]) -> None:
    for problem in problems[::3]:
        freed = free_columns(problem, gptq, 8)
        found = layer_error(problem, with_adapter(freed), DAMPENING)
        assert found == pytest.approx(best_answer(problem, freed.solved, freed.columns), rel=1e-3)
        for values in (problem.weights, with_adapter(freed).weights * 1.01):
            other = with_adapter(freed).weights.clone()
            other[0, :, freed.columns] = values[0, :, freed.columns]
            assert layer_error(problem, replace(freed.solved, weights=other), DAMPENING) > found


def test_the_adapter_chooses_the_columns_that_lose_most(problems: list[Problem]) -> None:
    problem = problems[3]
    freed = free_columns(problem, gptq, 8)
    error = (problem.weights - gptq(problem).weights)[0]
    lost = error.square().sum(0) * problem.hessians[0].diagonal()
    assert set(freed.columns.tolist()) == set(lost.topk(8).indices.tolist())
    assert torch.equal(freed.adapter.down.argmax(1), freed.columns)
    assert freed.adapter.down.sum() == freed.adapter.down.count_nonzero() == 8
    assert freed.adapter.up.dtype == freed.adapter.down.dtype == torch.bfloat16


def test_all_columns_are_on_the_grid_of_the_new_scales(problems: list[Problem]) -> None:
    for problem in problems[:2]:
        freed = free_columns(problem, gptq, 8)
        grid = Grid(replace(problem, scale=freed.scale, zero_point=freed.zero_point), None)
        for column, values in enumerate(freed.solved.weights[0].unbind(1)):
            assert torch.equal(grid.nearest(values, column), values), column
        assert (freed.scale.shape, freed.scale.dtype) == (problem.scale.shape, problem.scale.dtype)


@pytest.mark.parametrize("observer", ["memoryless_minmax", "memoryless_mse", "imatrix_mse"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_scales_are_those_of_the_weight_without_the_columns(observer: str, symmetric: bool) -> None:
    arguments = QuantizationArgs(num_bits=4, symmetric=symmetric, strategy="channel", observer=observer)
    problem = made_up(arguments)
    freed = free_columns(problem, gptq, 3)
    left = torch.ones(16, dtype=torch.bool).index_fill(0, freed.columns, False)
    own = Observer.load_from_registry(observer, base_name="weight", args=arguments)
    own._imatrix_sum, own._imatrix_count = problem.hessians[0].diagonal()[left], torch.tensor(1)
    own(problem.weights[0][:, left])
    expected = own.get_qparams()
    assert torch.equal(freed.scale[0], expected["scale"])
    assert torch.equal(freed.zero_point[0], expected["zero_point"])
    if observer == "memoryless_minmax":
        assert (freed.scale < problem.scale).any() and (freed.scale <= problem.scale).all()


def made_up(arguments: QuantizationArgs) -> Problem:
    drawn = torch.Generator().manual_seed(0)
    weights, inputs = (torch.randn(rows, 16, generator=drawn) for rows in (8, 64))
    weights[:, :3] *= 4
    inputs[:, :3] *= 4
    observer = Observer.load_from_registry("memoryless_minmax", base_name="weight", args=arguments)
    found = observer(weights).get_qparams()
    hessian = inputs.T @ inputs
    scale, zero = found["scale"][None], found["zero_point"][None]
    return Problem(weights[None], hessian[None], None, scale, zero, None, arguments, 128, 0.01)


SYMMETRIC = QuantizationArgs(num_bits=4, symmetric=True, strategy="channel")


def test_where_rounding_anew_is_worse_the_first_integers_stay() -> None:
    problem, calls = made_up(SYMMETRIC), []

    def solve(own: Problem) -> Solved:
        calls.append(own)
        solved = gptq(own)
        return solved if len(calls) == 1 else replace(solved, weights=torch.zeros_like(own.weights))

    freed = free_columns(problem, solve, 3)
    assert len(calls) == 2 and torch.equal(freed.scale, problem.scale)
    others = torch.ones(16, dtype=torch.bool).index_fill(0, freed.columns, False)
    before = gptq(problem)
    assert torch.equal(freed.solved.weights[..., others], before.weights[..., others])
    assert layer_error(problem, with_adapter(freed), 0.01) < layer_error(problem, before, 0.01)


def test_a_layer_that_gptq_gives_up_has_an_adapter_of_zeros() -> None:
    problem = made_up(SYMMETRIC)
    freed = free_columns(replace(problem, hessians=-problem.hessians), gptq, 3)
    assert bool(freed.solved.fallback) and not freed.adapter.product.any()
    assert freed.adapter.up.shape == (8, 3) and freed.adapter.down.shape == (3, 16)


def test_inputs_that_were_always_zero_do_not_count() -> None:
    problem = made_up(SYMMETRIC)
    dead = [1, 3, 5, 7, 8, 9, 10, 11, 12, 13]
    problem.hessians[0, dead], problem.hessians[0, :, dead] = 0, 0
    for rank in (3, 15):  # less than there are others, and more
        made = with_adapter(free_columns(problem, gptq, rank)).weights[0]
        assert torch.isfinite(made).all()
        assert not made[:, dead].any()


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "gptq", "sample_weights": "equal_sequences"},
        {"method": "quantease"},
        {"method": "smoothquant", "actorder": "static", "layer_bits": {"re:.*down_proj": 6}},
    ],
    ids=lambda fields: fields["method"],
)
def test_equal_bytes_twice_with_any_solver(fields: dict[str, Any], tiny_cell: Cell, tmp_path: Path) -> None:
    columns = Compensation(kind="outlier_columns", rank=4)
    spec = make_spec(scheme="W4A16_ASYM", group_size=32, observer="imatrix", compensation=columns, **fields)
    rows = [row[: 16 * length] for length, row in enumerate(make_rows(4), 1)]
    logs = [quantize(spec, tiny_cell.target, rows, tmp_path / name, "cpu", SilentProgress()) for name in "ab"]
    assert logs[0] == logs[1] and not logs[0].fallback and len(logs[0].errors) == 14
    assert all(logs[0].compensated[name] < error for name, error in logs[0].errors.items())
    for file in [path for path in (tmp_path / "a").rglob("*") if path.is_file()]:
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_coordinate_descent_leaves_them_free_too(problems: list[Problem]) -> None:
    """By construction it is at most that of its own integers; with the same columns free it was less than
    GPTQ's too."""
    solve: Callable[[Problem], Solved] = CoordinateDescent(sweeps=1).solve
    for problem in problems[:3]:
        before, freed = solve(problem), free_columns(problem, solve, 8)
        found = layer_error(problem, with_adapter(freed), DAMPENING)
        assert found <= best_answer(problem, before, freed.columns) * (1 + 1e-4)
        assert found < layer_error(problem, with_adapter(free_columns(problem, gptq, 8)), DAMPENING)
