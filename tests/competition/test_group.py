from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.competition.expert import Group
from faq_pipeline.competition.group import GroupResult, compete, normalise_scores
from tests.competition.groups import make_candidate, make_group, make_seed

SCORE = st.one_of(st.none(), st.integers(-1000, 1000).map(float))
FINISH = st.sampled_from(["stop", "stop", "stop", "length"])


@st.composite
def competitions(draw: st.DrawFn) -> tuple[Group, dict[str, list[float | None]], dict[str, float]]:
    size = draw(st.integers(1, 6))
    candidates = [make_candidate(i, finish=draw(FINISH)) for i in range(size)]
    names = draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3))
    raw = {name: draw(st.lists(SCORE, min_size=size, max_size=size)) for name in names}
    weights = {name: draw(st.sampled_from([0.25, 1.0, 3.0])) for name in names}
    return make_group(*candidates), raw, weights


def standings(verdict: GroupResult) -> dict[str, tuple[float | None, int, bool]]:
    return {s.candidate_id: (s.total, s.place, s.winner) for s in verdict.standings}


@given(competitions(), st.one_of(st.none(), st.integers(0, 5)))
def test_a_group_with_an_eligible_candidate_has_exactly_one_winner_and_it_is_eligible(case, draw):
    group, raw, weights = case
    verdict = compete(group, raw, weights, draw)
    winners = [s.candidate_id for s in verdict.standings if s.winner]
    assert len(winners) == (1 if group.eligible else 0)
    assert set(winners) <= {c.id for c in group.eligible}
    assert sorted(s.place for s in verdict.standings) == list(range(1, len(group.candidates) + 1))


@given(competitions(), st.randoms(use_true_random=False), st.one_of(st.none(), st.integers(0, 5)))
def test_the_order_in_which_candidates_come_does_not_matter(case, random, draw):
    group, raw, weights = case
    order = list(range(len(group.candidates)))
    random.shuffle(order)
    shuffled = make_group(*(group.candidates[i] for i in order))
    moved = {name: [scores[i] for i in order] for name, scores in raw.items()}
    assert standings(compete(shuffled, moved, weights, draw)) == standings(compete(group, raw, weights, draw))


@given(competitions(), st.sampled_from([0.25, 1.0, 4.0]))
def test_an_expert_that_abstains_is_as_good_as_absent(case, weight):
    group, raw, weights = case
    silent: list[float | None] = [None] * len(group.candidates)
    beside = compete(group, {**raw, "silent": silent}, {**weights, "silent": weight})
    assert standings(beside) == standings(compete(group, raw, weights))


@given(competitions(), st.sampled_from([0.001, 0.3, 1.0, 7.0, 1e6]), st.floats(-100, 100))
def test_the_scale_and_offset_of_an_expert_do_not_matter(case, scale, offset):
    group, raw, weights = case
    changed = {
        name: [None if v is None else scale * v + offset for v in scores] for name, scores in raw.items()
    }
    before, after = compete(group, raw, weights), compete(group, changed, weights)
    for mine, theirs in zip(before.scores, after.scores, strict=True):
        assert mine.normalised == pytest.approx(theirs.normalised, abs=1e-6)
    totals = {s.candidate_id: s.total for s in before.standings}
    # Offsets cost digits; where totals are clearly apart, the winner stays.
    best = sorted((t for c in group.eligible if (t := totals[c.id]) is not None), reverse=True)
    if len(best) > 1 and best[0] - best[1] > 1e-6:
        assert before.winner.candidate_id == after.winner.candidate_id


def test_scores_become_z_scores_of_the_group():
    assert normalise_scores([1.0, 2.0, 3.0], [True] * 3) == pytest.approx([-1.224744871, 0, 1.224744871])


def test_without_spread_an_expert_has_no_preference():
    assert normalise_scores([0.1, None, 0.1, 0.1], [True] * 4) == [0.0, None, 0.0, 0.0]


def test_a_score_that_is_not_finite_counts_as_abstention():
    assert normalise_scores([float("-inf"), 1.0, float("nan"), 2.0], [True] * 4) == [None, -1.0, None, 1.0]


def test_a_broken_candidate_does_not_decide_between_the_others():
    alone = normalise_scores([1.0, 2.0, None], [True, True, False])
    beside = normalise_scores([1.0, 2.0, -900.0], [True, True, False])
    assert alone[:2] == beside[:2]


def test_weights_decide_between_experts_that_disagree():
    group = make_group(make_candidate(0), make_candidate(1))
    raw = {"a": [1.0, 0.0], "b": [0.0, 1.0]}
    assert compete(group, raw, {"a": 2.0, "b": 1.0}).winner.candidate_id == "c0"
    assert compete(group, raw, {"a": 1.0, "b": 2.0}).winner.candidate_id == "c1"


def test_an_abstaining_experts_weight_goes_to_those_that_scored():
    group = make_group(make_candidate(0), make_candidate(1))
    verdict = compete(group, {"a": [1.0, 0.0], "b": [None, None]}, {"a": 1.0, "b": 9.0})
    assert [s.total for s in verdict.standings] == [1.0, -1.0]


def test_equal_totals_go_to_the_first_position():
    group = make_group(make_candidate(1), make_candidate(0))
    assert compete(group, {"a": [0.3, 0.3]}, {"a": 1.0}).winner.candidate_id == "c0"


def test_where_no_expert_scores_the_first_eligible_candidate_wins_without_a_total():
    group = make_group(make_candidate(0, finish="length"), make_candidate(1), answer=None)
    winner = compete(group, {"a": [None, None]}, {"a": 1.0}).winner
    assert (winner.candidate_id, winner.total, winner.place) == ("c1", None, 1)


@pytest.mark.parametrize(
    "broken",
    [
        make_candidate(0, finish="length"),
        make_candidate(0, " \n"),
        make_candidate(0, "and then she is away " * 20),
    ],
)
@pytest.mark.parametrize("draw", [None, 0, 1, 2, 3])
def test_a_cut_empty_or_looping_candidate_never_wins(broken, draw):
    raw = {"a": [5.0, 0.0]}
    verdict = compete(make_group(broken, make_candidate(1)), raw, {"a": 1.0}, draw)
    assert verdict.winner.candidate_id == "c1"
    assert compete(make_group(broken), {"a": [5.0]}, {"a": 1.0}, draw).winner is None


WRONG, RIGHT = "She keeps eight. Answer: 8", "Answer: 7"


@pytest.mark.parametrize("draw", [None, 0, 1, 2, 3])
def test_a_wrong_answer_that_nothing_competes_with_does_not_win(draw):
    """Under either selection; also where the others of its group cannot win."""
    alone = make_group(make_candidate(0, WRONG))
    beside_cut = make_group(make_candidate(0, WRONG), make_candidate(1, RIGHT, finish="length"))
    for group in (alone, beside_cut):
        raw = {"a": [0.0] * len(group.candidates)}
        verdict = compete(group, raw, {"a": 1.0}, draw)
        assert verdict.winner is None and len(verdict.standings) == len(group.candidates)


@pytest.mark.parametrize(
    "group",
    [
        make_group(make_candidate(0, RIGHT)),
        make_group(make_candidate(0, WRONG), answer=None),
        make_group(make_candidate(0, WRONG), answer=" "),
        make_group(make_candidate(0, WRONG, finish="given")),  # no model wrote it
        make_group(make_candidate(0, WRONG), make_candidate(1, "Answer: 9")),  # they compete
    ],
    ids=["right", "no known answer", "an empty answer", "given", "several"],
)
def test_what_else_stands_alone_wins(group):
    winner = compete(group, {"a": [0.0] * len(group.candidates)}, {"a": 1.0}).winner
    assert winner is not None and winner.candidate_id == "c0"


def test_random_selection_depends_on_the_draw_and_reaches_every_candidate():
    group = make_group(*(make_candidate(i) for i in range(4)))
    winners = [compete(group, {}, {}, draw).winner.candidate_id for draw in range(40)]
    assert set(winners) == {"c0", "c1", "c2", "c3"}
    assert winners == [compete(group, {}, {}, draw).winner.candidate_id for draw in range(40)]


def test_random_selection_differs_between_seeds_of_one_draw():
    candidates = tuple(make_candidate(i) for i in range(4))
    seeds = [make_seed(f"s{i}") for i in range(20)]
    won = {
        compete(Group(s, tuple(replace(c, seed_id=s.id) for c in candidates)), {}, {}, 0).winner.candidate_id
        for s in seeds
    }
    assert len(won) > 1


def test_a_candidate_that_no_expert_scored_comes_after_those_that_were():
    group = make_group(make_candidate(0), make_candidate(1), make_candidate(2))
    verdict = compete(group, {"a": [None, 1.0, 0.0]}, {"a": 1.0})
    assert [s.candidate_id for s in verdict.standings] == ["c1", "c2", "c0"]
