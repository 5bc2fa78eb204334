from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.calibration.token_budget import BudgetItem, select


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[BudgetItem], int, int]:
    shapes = draw(
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 80), st.booleans()), max_size=40)
    )
    pieces = [BudgetItem(f"p{i}", *shape) for i, shape in enumerate(shapes)]
    longest = draw(st.integers(1, 60))
    return pieces, draw(st.integers(longest, 900)), longest


def uncuttable(sizes: str | list[int], domain: str = "a") -> list[BudgetItem]:
    return [BudgetItem(f"{domain}{i}", domain, int(n), True) for i, n in enumerate(sizes)]


@given(pools())
def test_budget_and_length_hold_and_nothing_with_an_answer_is_cut(pool):
    pieces, budget, longest = pool
    selection = select(pieces, budget, longest)
    assert selection.tokens <= budget
    for chosen in selection.chosen:
        assert 0 < chosen.tokens <= min(longest, chosen.piece.tokens)
        assert not chosen.piece.whole or chosen.tokens == chosen.piece.tokens


@given(pools())
def test_every_piece_is_chosen_or_too_long_or_unused(pool):
    pieces, budget, longest = pool
    selection = select(pieces, budget, longest)
    ids = [c.piece.id for c in selection.chosen]
    ids += [p.id for p in selection.too_long + selection.unused]
    assert sorted(ids) == sorted(p.id for p in pieces)
    assert all(p.whole and p.tokens > longest for p in selection.too_long)


@given(pools())
def test_domains_that_still_have_pieces_differ_by_one_round_at_most(pool):
    pieces, budget, longest = pool
    selection = select(pieces, budget, longest)
    counts = Counter(c.piece.domain for c in selection.chosen)
    waiting = {p.domain for p in selection.unused}
    if waiting:
        most = max(counts.values(), default=0)
        assert all(counts[domain] >= most - 1 for domain in waiting)


@given(pools())
def test_the_same_pool_gives_the_same_choice(pool):
    assert select(*pool) == select(*pool)


@given(pools())
def test_text_that_may_be_cut_fills_the_budget_to_the_token(pool):
    pieces, budget, longest = pool
    loose = [BudgetItem(p.id, p.domain, p.tokens, False) for p in pieces]
    held = sum(min(p.tokens, longest) for p in loose)
    assert select(loose, budget, longest).tokens == min(budget, held)


@given(pools())
def test_of_one_domain_nothing_is_left_that_would_fit(pool):
    pieces, budget, longest = pool
    whole = [BudgetItem(p.id, "a", p.tokens, True) for p in pieces]
    selection = select(whole, budget, longest)
    assert all(p.tokens > budget - selection.tokens for p in selection.unused)


def test_the_last_round_is_chosen_to_fill_the_budget():
    pieces = uncuttable([40, 33, 21]) + uncuttable([40, 30, 25, 9], "b")
    selection = select(pieces, 80 + 46, 60)
    assert selection.tokens == 126
    assert [c.piece.id for c in selection.chosen] == ["a0", "b0", "a2", "b2"]


def test_domains_and_pieces_come_in_the_order_given():
    pieces = uncuttable([5, 5], "b") + uncuttable([5, 5], "a")
    assert [c.piece.id for c in select(pieces, 20, 5).chosen] == ["b0", "a0", "b1", "a1"]


def test_many_ordinary_samples_come_within_two_percent():
    sizes = [90 + (37 * i) % 110 for i in range(200)]
    pieces = [BudgetItem(f"p{i}", f"d{i % 5}", n, True) for i, n in enumerate(sizes)]
    assert 0.98 * 12288 <= select(pieces, 12288, 512).tokens <= 12288


def test_a_domain_that_is_alone_gives_several_pieces_in_the_last_round():
    selection = select(uncuttable([1, 21, 1, 1]), 21, 21)
    assert [c.piece.id for c in selection.chosen] == ["a0", "a2", "a3"]
