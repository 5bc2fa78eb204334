from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.inference.client.concurrency import ConcurrencyControl


def answers(
    pace: ConcurrencyControl, count: int, *, seconds: float = 1.0, tokens: int = 10, full: bool = True
) -> None:
    for _ in range(count):
        pace.succeeded(pace.era, seconds, tokens, full=full)


def test_it_starts_at_the_bound_and_stays_there_while_the_server_copes():
    pace = ConcurrencyControl(64)
    assert pace.limit == 64
    answers(pace, 1000)
    assert pace.limit == 64


def test_a_rejection_halves_the_limit_and_those_of_older_requests_count_for_nothing():
    pace = ConcurrencyControl(64)
    era = pace.era
    for _ in range(40):
        pace.rejected(era)
    assert pace.limit == 32
    pace.rejected(pace.era)
    assert pace.limit == 16


def test_it_never_falls_below_one():
    pace = ConcurrencyControl(4)
    for _ in range(10):
        pace.rejected(pace.era)
    assert pace.limit == 1


def test_it_recovers_by_addition():
    pace = ConcurrencyControl(64)
    for _ in range(3):
        pace.rejected(pace.era)
    steps = []
    while pace.limit < 64:
        before, round_ = pace.limit, pace.limit
        answers(pace, round_)
        steps.append(pace.limit - before)
    assert all(3 <= step <= 4 for step in steps[:-1]), steps


def crowded(pace: ConcurrencyControl, capacity: int) -> None:
    """Answers of a server that gives `capacity` tokens a second, whatever the number of requests."""
    for _ in range(64):
        answers(pace, 1, seconds=pace.limit * 10 / capacity)


def test_a_crowded_server_is_sent_fewer():
    pace = ConcurrencyControl(64)
    for _ in range(3):
        crowded(pace, 640)
    for _ in range(12):
        crowded(pace, 160)
    assert 8 <= pace.limit < 50
    for _ in range(12):
        crowded(pace, 640)
    assert pace.limit == 64


def test_longer_work_is_no_crowd():
    """Latency that does not follow the number of requests: fewer would only be fewer."""
    pace = ConcurrencyControl(64)
    answers(pace, 200, seconds=1.0)
    answers(pace, 64, seconds=4.0)
    lowest = pace.limit
    answers(pace, 600, seconds=4.0)
    assert lowest < 64 and pace.limit == 64


def test_latency_of_an_idle_server_is_no_measure():
    pace = ConcurrencyControl(64)
    answers(pace, 200, seconds=0.1, full=False)
    answers(pace, 200, seconds=1.0)
    assert pace.limit == 64


EVENTS = st.lists(
    st.tuples(st.sampled_from(["good", "old", "rejected"]), st.floats(0, 1e4), st.integers(0, 10**6)),
    max_size=300,
)


@given(st.integers(1, 100), EVENTS)
def test_the_limit_keeps_its_bounds_whatever_happens(most: int, events: list[tuple[str, float, int]]):
    pace = ConcurrencyControl(most)
    for what, seconds, tokens in events:
        if what == "rejected":
            pace.rejected(pace.era)
        else:
            pace.succeeded(pace.era - (what == "old"), seconds, tokens, full=True)
        assert 1 <= pace.limit <= most
