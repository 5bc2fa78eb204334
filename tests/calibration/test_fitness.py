from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.activations.fitness import by_layer, fitness, mismatch, mismatches
from faq_pipeline.activations.layer_names import layer_of
from faq_pipeline.activations.moments import Moments, input_moments
from faq_pipeline.calibration.fitness_plot import draw_fitness_by_layer
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.loading import load_model
from faq_pipeline.store.records import ChannelMismatch

POSITIVE = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=16)


@pytest.fixture(scope="module")
def model(tiny_cell: Cell):
    return load_model(tiny_cell.target, "cpu")


def rows(*lengths: int) -> list[list[int]]:
    return [[(7 * i + 3 * n) % 300 for i in range(n)] for n in lengths]


def test_moments_are_the_mean_squares_of_what_goes_in(model):
    name = "model.layers.1.mlp.down_proj"
    seen: list[torch.Tensor] = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    moments = input_moments(model, rows(5, 9), lambda n: None)
    handle.remove()
    tokens = torch.cat([x[0].double() for x in seen])
    assert moments[name].tokens == len(tokens) == 14
    torch.testing.assert_close(moments[name].mean, tokens.square().mean(0), rtol=1e-5, atol=1e-12)


def test_every_linear_layer_is_measured_but_the_head(model):
    moments = input_moments(model, rows(4), lambda n: None)
    linear = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert set(moments) == linear - {"lm_head"}
    assert len(moments) == 2 * 7
    assert all(float(m.mean.sum()) > 0 for m in moments.values())


def test_moments_of_rows_add_up_and_leave_no_hook_behind(model):
    together = input_moments(model, rows(5, 9), lambda n: None)
    parts = [input_moments(model, [row], lambda n: None) for row in rows(5, 9)]
    for name, both in together.items():
        torch.testing.assert_close(both.squares, sum(p[name].squares for p in parts), rtol=1e-9, atol=0)
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_layers_that_share_their_input_have_equal_moments(model):
    moments = input_moments(model, rows(6), lambda n: None)
    q, k, o = (moments[f"model.layers.0.self_attn.{n}_proj"].mean for n in "qko")
    assert torch.equal(q, k)
    assert not torch.equal(q, o)


@given(POSITIVE)
def test_equal_moments_do_not_mismatch(values):
    m = torch.tensor(values, dtype=torch.float64)
    assert mismatch(m, m) == 0


@given(POSITIVE, st.floats(0.1, 10))
def test_a_common_factor_mismatches_by_its_squared_logarithm(values, factor):
    m = torch.tensor(values, dtype=torch.float64)
    # The floor keeps channels far below the mean from counting in full.
    assert mismatch(factor * m, m) == pytest.approx(math.log(factor) ** 2, rel=0.2, abs=1e-6)


def test_channels_count_alike_whatever_their_size():
    traces = torch.tensor([1.0, 100.0])
    assert mismatch(torch.tensor([2.0, 100.0]), traces) == pytest.approx(math.log(2) ** 2 / 2)
    assert mismatch(torch.tensor([1.0, 200.0]), traces) == pytest.approx(math.log(2) ** 2 / 2)


def test_silent_channels_stay_finite():
    assert mismatch(torch.zeros(2), torch.zeros(2)) == 0
    assert mismatch(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])) == 0
    assert math.isfinite(mismatch(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])))


def test_modules_that_saw_nothing_are_left_out():
    seen, idle = Moments(torch.ones(3), 2), Moments(torch.zeros(3))
    made = mismatches({"layers.0.a": seen, "layers.0.b": idle}, {"layers.0.a": seen, "layers.0.b": seen})
    assert made == [ChannelMismatch("layers.0.a", 0, 3, 0.0)]


def test_layers_and_the_mean():
    made = [ChannelMismatch(f"model.layers.{n}.q", n, 4, v) for n, v in ((0, 1.0), (0, 3.0), (11, 8.0))]
    assert by_layer(made) == {0: 2.0, 11: 8.0}
    assert fitness(made) == 4.0
    assert fitness([]) is None
    assert layer_of("model.layers.11.mlp.up_proj") == 11
    assert layer_of("model.layers.3") == 3
    assert layer_of("model.projector") == -1


def test_the_picture_depends_on_the_rows_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = [ChannelMismatch(f"layers.{n}.{k}", n, 4, 0.1 * n) for n in range(3) for k in ("q", "up")]
    draw_fitness_by_layer(made, tmp_path / "a.png")
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    draw_fitness_by_layer(made, tmp_path / "b.png")
    first = (tmp_path / "a.png").read_bytes()
    assert first == (tmp_path / "b.png").read_bytes()
    assert first.startswith(b"\x89PNG") and b"Software" not in first
    draw_fitness_by_layer([], tmp_path / "empty.png")
    assert (tmp_path / "empty.png").exists()
    draw_fitness_by_layer(made[:-1], tmp_path / "c.png")
    assert first != (tmp_path / "c.png").read_bytes()
