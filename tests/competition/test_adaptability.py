"""Expert `adaptability`: candidates of middling sensitivity win."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.competition.expert import Context, Group
from faq_pipeline.competition.experts import EXPERTS
from faq_pipeline.competition.experts.adaptability import HIGH, LOW, adaptabilities
from faq_pipeline.competition.group import compete
from faq_pipeline.core.cell import Cell
from faq_pipeline.models.divergence import mean_divergences
from tests.competition.groups import make_candidate, make_group

TEXTS = [
    f"{'The river town had a harvest. ' * (i % 4)}Mira gives {i} away, so {12 - i} remain." for i in range(9)
]


def groups() -> list[Group]:
    """Three of three candidates; beside them a looping one and one longer than the context."""
    candidates = [make_candidate(i % 3, text, id=f"c{i}") for i, text in enumerate(TEXTS)]
    found = [make_group(*candidates[i : i + 3], answer=None) for i in (0, 3, 6)]
    return [*found, make_group(make_candidate(0, "word " * 60), make_candidate(1, "word " * 2000))]


@pytest.fixture
def context(tiny_cell: Cell):
    context = Context(tiny_cell)
    yield context
    context.close()


def test_candidates_in_the_band_win_over_those_outside(context: Context):
    given_groups = groups()
    divergences = EXPERTS["sensitivity"].score(given_groups, context)
    scores = EXPERTS["adaptability"].score(given_groups, context)
    pool = sorted(divergences[:9])
    assert len(set(pool)) == 9 and given_groups[3].eligible == ()
    for value, score in zip(divergences[:9], scores[:9], strict=True):
        quantile = (pool.index(value) + 0.5) / 9
        assert score == pytest.approx(-max(LOW - quantile, quantile - HIGH, 0))
    assert scores[divergences.index(median(pool))] == 0
    assert scores[divergences.index(pool[0])] == scores[divergences.index(pool[-1])] < -0.2
    assert scores[9] is not None and scores[10] is None
    for index, group in enumerate(given_groups[:3]):
        own = scores[3 * index : 3 * index + 3]
        result = compete(group, {"adaptability": own}, {"adaptability": 1.0})
        (winner,) = [s.candidate_id for s in result.standings if s.winner]
        assert own[[c.id for c in group.candidates].index(winner)] == max(own)


def test_beside_sensitivity_it_makes_no_pass_of_its_own(context: Context, monkeypatch: pytest.MonkeyPatch):
    passes = []

    def counted(*arguments: Any) -> list[float]:
        passes.append(arguments)
        return mean_divergences(*arguments)

    monkeypatch.setattr("faq_pipeline.models.divergence.mean_divergences", counted)
    given_groups = groups()
    for name in ("sensitivity", "adaptability"):
        EXPERTS[name].score(given_groups, context)
    assert len(passes) == 1
    EXPERTS["adaptability"].score(groups(), context)
    assert len(passes) == 2, "other groups are measured anew"


def test_what_cannot_win_does_not_move_the_others(context: Context):
    expert = EXPERTS["adaptability"]
    assert expert.score(groups()[:3], context) == expert.score(groups(), context)[:9]
    assert expert.score(groups()[3:], context) == [None, None]


values = st.lists(st.floats(0, 10), min_size=1, max_size=40)


@given(values, st.lists(st.none() | st.floats(0, 10), max_size=20))
def test_the_band_is_respected(pool: list[float], asked: list[float | None]):
    for value, score in zip(asked, adaptabilities(asked, pool), strict=True):
        if value is None:
            assert score is None
            continue
        share = (sum(v < value for v in pool) + sum(v <= value for v in pool)) / 2 / len(pool)
        assert -LOW - 1e-12 <= score <= 0
        assert score == pytest.approx(-max(LOW - share, share - HIGH, 0))
        assert (score == 0) == (LOW <= share <= HIGH)


@given(values)
def test_only_the_order_of_divergences_counts(pool: list[float]):
    steps = {value: step for step, value in enumerate(sorted(set(pool)))}
    moved = [math.exp(steps[value]) for value in pool]
    assert adaptabilities(pool, pool) == adaptabilities(moved, moved)


def test_both_sides_of_the_band_count_alike():
    low, high = adaptabilities([0.0, 8.0], [float(i) for i in range(9)])
    assert low == high < 0


def test_without_a_pool_it_abstains():
    assert adaptabilities([1.0, None], []) == [None, None]
