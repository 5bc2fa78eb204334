"""The pace of a run and its learning rate."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import schedule, train
from training.schedule import Pace, learning_rate


@given(st.integers(1, 5000), st.data())
def test_learning_rate(steps: int, data: st.DataObject) -> None:
    warm_up = data.draw(st.integers(1, max(1, steps // 20)))
    rates = [learning_rate(step / steps, step, warm_up, 2.0) for step in range(steps)]
    flat = next((step for step in range(steps) if step / steps >= 0.3), steps)
    assert all(0 < rate <= 2.0 for rate in rates)
    assert rates[: warm_up - 1] == sorted(set(rates[: warm_up - 1]))
    assert set(rates[warm_up:flat]) <= {2.0}
    falling = rates[max(flat, warm_up) :]
    assert all(a > b for a, b in pairwise(falling))
    if steps > warm_up:
        assert rates[-1] == pytest.approx(2.0 / (0.7 * steps))


class Clock:
    """Time that passes only when told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (schedule, train):
        monkeypatch.setattr(module, "time", clock)
    return clock


def _walk(clock: Clock, pace: Pace, costs: list[float]) -> list[float]:
    """The learning rate at each step of a run whose steps take so long."""
    rates, progress = [], 0.0
    pace.start()
    while progress < 1:
        rates.append(learning_rate(progress, len(rates), 1, 1.0))
        clock.now += costs[min(len(rates), len(costs)) - 1]
        progress = pace.progress(len(rates))
    return rates


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [(None, 1000), (60_000.0, 1000), (1000.0, 1000), (600.0, 600), (120.0, 120), (30.0, 30), (0.5, 1)],
)
def test_a_run_is_shortened_to_its_time(clock: Clock, seconds: float | None, steps: int) -> None:
    rates = _walk(clock, Pace(1000, seconds), [1.0])
    assert len(rates) == steps
    assert clock.now == steps
    assert rates[-1] <= 1 / (0.7 * steps) + 1e-9


@given(st.lists(st.floats(0.05, 5.0), min_size=1, max_size=200), st.floats(20.0, 300.0))
def test_the_rate_comes_down_in_time_at_any_speed(costs: list[float], seconds: float) -> None:
    """Others that are trained on the device make it slower and faster: the decay ends in time."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(schedule, "time", clock)
        pace = Pace(10_000, seconds)
        clock.now += 10  # loading and compiling
        rates = _walk(clock, pace, costs)
    longest = max(costs)
    assert seconds <= clock.now <= seconds + longest
    assert all(a >= b for a, b in pairwise(rates[1:]))
    assert rates[-1] <= longest / (seconds - 10) / 0.7 + 1e-9 or len(rates) == 1
    flat = [rate for rate in rates if rate == 1.0]
    assert len(flat) >= min(len(rates), int(0.3 * (seconds - 10) / longest))


def test_compiling_is_no_progress(clock: Clock) -> None:
    pace = Pace(1000, 100.0)
    clock.now = 50.0
    pace.start()
    assert pace.progress(0) == 0.0
    clock.now = 75.0
    assert pace.progress(1) == 0.5
    clock.now = 99.9
    assert pace.progress(10) < 1
    clock.now = 100.0
    assert pace.progress(11) == 1.0


def test_compiling_past_the_limit_ends_the_run(clock: Clock) -> None:
    pace = Pace(1000, 100.0)
    clock.now = 101.0
    assert len(_walk(clock, pace, [1.0])) == 1


def test_the_record_says_what_was_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    run = train.Run("m", 10_000)
    watch = train.Watch(run, 1000, 10, 0.0)
    clock.now = 5.0
    watch.measure_from(5)
    clock.now = 105.0
    watch.look(105, 0.5, 1.0, 1e-3)
    assert "m: step 105/1000 (50%) loss 1.0000" in capsys.readouterr().out
    watch.finish(105, 0.25)
    assert (run.steps, run.tokens, run.seconds, run.final_loss) == (105, 1050, 105.0, 0.25)
    assert run.tokens_per_second == pytest.approx(10.0)
    assert run.shortened == ["105 of 1000 steps, to end in time"]
    watch.finish(1000, 0.25)
    assert len(run.shortened) == 1
