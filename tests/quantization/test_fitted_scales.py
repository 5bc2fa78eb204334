"""decoupleQ: what must hold of its steps on real layers of kin-4m, and that all that is kept of a layer has
the scales that it chose."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from llmcompressor.modifiers.gptq import base as library
from llmcompressor.modifiers.gptq.helpers import update_batch_qparams
from safetensors.torch import load_file
from transformers.utils.quantization_config import CompressedTensorsConfig

from faq_pipeline.config.quantization import Compensation
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.loading import load_folder
from faq_pipeline.quantization.layer_log import relative_error
from faq_pipeline.quantization.oneshot import quantize, run
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.quantization.solvers.coordinate_descent import CoordinateDescent, Descent
from faq_pipeline.quantization.solvers.decoupled import Decoupled
from faq_pipeline.quantization.solvers.grid import Grid
from faq_pipeline.quantization.solvers.protocol import Problem, Solved
from faq_pipeline.quantization.solvers.scale_fit import fitted_scales
from faq_pipeline.quantization.spec_check import check_spec
from faq_pipeline.util.progress import SilentProgress
from tests.quantization.conftest import make_rows, make_spec
from tests.quantization.layer_problems import layer_error, row_errors

FIRST = "model.layers.0.self_attn.q_proj"
"""Its input does not depend on what was rounded before it."""


def test_without_a_round_it_is_quantease_to_the_byte(problems: list[Problem]) -> None:
    for problem in problems[:2]:
        none, own = Decoupled(rounds=0, sweeps=2).solve(problem), CoordinateDescent(sweeps=2).solve(problem)
        assert torch.equal(none.weights, own.weights) and torch.equal(none.losses, own.losses)
        assert none.scale is not None and torch.equal(none.scale, problem.scale)


def test_every_layer_has_less_error_than_with_quantease_and_no_row_has_more(problems: list[Problem]) -> None:
    """Under the dampened Hessian, which both make least. What it starts from is QuantEase's result."""
    for problem in problems:
        before, after = CoordinateDescent(1).solve(problem), Decoupled(1, 1).solve(problem)
        rows = [row_errors(problem, one, 0.1) for one in (before, after)]
        assert (rows[1] <= rows[0] * (1 + 1e-6)).all()
        assert layer_error(problem, after, 0.1) < layer_error(problem, before, 0.1)
        assert float(after.losses) == pytest.approx(layer_error(problem, after, 0.1) / 2, rel=1e-3)
        check_form(problem, after)


def check_form(problem: Problem, solved: Solved) -> None:
    """Weights are on the grid of the scales, which are stored as they are."""
    scale = solved.scale
    assert scale is not None and (scale > 0).all()
    assert (scale.dtype, scale.shape) == (torch.bfloat16, problem.scale.shape)
    grid = Grid(replace(problem, scale=scale), None)
    assert torch.equal(grid.all_nearest(solved.weights[0]), solved.weights[0])


@pytest.mark.parametrize("group", [None, 64])
@pytest.mark.parametrize("layer", [2, 13])
def test_no_round_raises_the_error_of_a_row(group: int | None, layer: int, problems: list[Problem]) -> None:
    """The second layer's down_proj is among them. At 2 bits in groups, where scales move most."""
    problem = problems[layer] if group is None else in_groups(problems[layer], group)
    made = [Decoupled(rounds, sweeps=1).solve(problem) for rounds in range(3)]
    rows = [row_errors(problem, one, 0.1) for one in made]
    assert all((later <= earlier * (1 + 1e-6)).all() for earlier, later in pairwise(rows))
    assert rows[2].sum() < rows[1].sum() < rows[0].sum()
    check_form(problem, made[2])


def in_groups(problem: Problem, size: int) -> Problem:
    """The problem at 2 bits, with minmax scales for groups of columns."""
    fields = {"strategy": "group", "group_size": size, "num_bits": 2}
    arguments = type(problem.arguments)(**problem.arguments.model_dump() | fields)
    largest = problem.weights.unflatten(2, (-1, size)).abs().amax(3)
    scale = (largest / 1.5).bfloat16()
    return replace(problem, arguments=arguments, scale=scale, zero_point=torch.zeros_like(scale))


def test_scales_are_the_least_squares_of_each_row() -> None:
    """By hand, on the root of the Hessian; groups lie apart in the given order."""
    drawn = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=drawn).double()
    weight, order = torch.randn(3, 12, generator=drawn).double(), torch.randperm(12, generator=drawn)
    integers = torch.randint(-2, 2, (3, 12), generator=drawn).double()
    integers[1, 4:8] = 0
    scale = torch.full((3, 3), 0.5).double()
    hessian = root @ root.T
    residual = (weight - integers * scale.repeat_interleave(4, 1)) @ hessian
    found = fitted_scales(integers[:, order], residual[:, order], hessian[order][:, order], scale, order)
    for row in range(3):
        used = [group for group in range(3) if not (row == 1 and group == 1)]
        columns = torch.zeros(12, 3).double()
        for group in range(3):
            own = slice(4 * group, 4 * group + 4)
            columns[own, group] = integers[row, own]
        expected = torch.linalg.lstsq((root.T @ columns)[:, used], (root.T @ weight[row])[:, None]).solution
        assert torch.allclose(found[row, used], expected[:, 0], rtol=1e-3)
    assert found[1, 1] == 0.5


def test_a_step_that_raises_the_error_of_a_row_is_refused(problems: list[Problem]) -> None:
    problem = problems[0]
    layer = Descent(problem, CoordinateDescent(1).solve(problem).weights[0])
    before, errors = layer.rounded.clone(), layer.row_errors
    better = torch.where(torch.arange(len(errors))[:, None] < 5, layer.weight, torch.zeros_like(before))
    allowed = torch.ones(len(errors), dtype=torch.bool)
    allowed[0] = False
    assert layer.take(better, allowed).nonzero().flatten().tolist() == [1, 2, 3, 4]
    assert torch.equal(layer.rounded[1:5], layer.weight[1:5])
    assert torch.equal(layer.rounded[5:], before[5:]) and torch.equal(layer.rounded[0], before[0])
    assert (layer.row_errors <= errors).all()


def test_the_checkpoint_the_report_and_the_adapter_have_its_scales(
    tiny_cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And scales stay those of the observer with every other solver."""
    solved: list[tuple[Problem, Solved]] = []
    solve = Decoupled.solve

    def recording(self: Decoupled, problem: Problem) -> Solved:
        kept = {name: getattr(problem, name).clone() for name in ("weights", "hessians", "scale")}
        solved.append((replace(problem, **kept), solve(self, problem)))
        return solved[-1][1]

    monkeypatch.setattr(Decoupled, "solve", recording)
    spec = make_spec("decoupleq", "W2A16", 64, compensation=Compensation(rank=4))
    log = quantize(spec, tiny_cell.target, make_rows(), tmp_path, "cpu", SilentProgress())
    stored = load_file(tmp_path / "model.safetensors")
    loaded = load_folder(tmp_path, "cpu", quantization_config=CompressedTensorsConfig(dequantize=True))
    assert len(solved) == len(log.errors) == 14
    for (name, logged), (problem, own) in zip(log.errors.items(), solved, strict=True):
        assert own.scale is not None and not torch.equal(own.scale, problem.scale)
        assert torch.equal(stored[f"{name}.weight_scale"], own.scale[0])
        assert torch.equal(loaded.get_submodule(name).weight.float(), own.weights[0])
        error = relative_error(problem.weights[0], own.weights[0], problem.hessians[0])
        assert logged == pytest.approx(error, rel=1e-4)
        assert log.compensated[name] < logged
    for method in ("foem", "quantease"):
        other = run(make_spec(method, "W2A16", 64), tiny_cell.target, make_rows(), "cpu", SilentProgress())
        assert torch.equal(other.model.get_submodule(FIRST).weight_scale, solved[0][0].scale[0])
    assert library.update_batch_qparams is update_batch_qparams


@pytest.mark.parametrize("scheme", list(SCHEMES.built_in))
def test_schemes_without_scales_of_their_own_alone_are_refused_before_work(
    scheme: str, tiny_cell: Cell
) -> None:
    floats = SCHEMES.find(scheme).float_weights
    spec = make_spec("decoupleq", scheme, None if floats else 32)
    if not floats and not scheme.endswith("_ASYM"):
        check_spec(spec, tiny_cell.target)
        return
    kind = "floats" if floats else "integers with zero points"
    with pytest.raises(FaqError, match=f"cannot quantize with '{scheme}': its weights are {kind}") as caught:
        check_spec(spec, tiny_cell.target)
    assert caught.value.key == "quantization.scheme"


def test_of_a_plugins_scheme_its_own_arguments_tell(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        def __init__(self, preset: str) -> None:
            self.name, self.weight_bits, self.activation_bits = "OWN", 4, 16
            self.float_weights = self.calibrated = False
            self.build = SCHEMES.find(preset).build

    for preset, told in (("W4A16", ""), ("W4A16_ASYM", "integers with zero points")):
        monkeypatch.setitem(SCHEMES.built_in, "OWN", Own(preset))
        problem = ""
        try:
            check_spec(make_spec("decoupleq", "OWN", 32), tiny_cell.target)
        except FaqError as error:
            problem = error.problem
        assert (
            problem.endswith(f"cannot quantize with 'OWN': its weights are {told}") if told else problem == ""
        )
