from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from faq_pipeline.competition.expert import Context, Group
from faq_pipeline.competition.experts import EXPERTS
from faq_pipeline.competition.experts.judge import judge_identity
from faq_pipeline.competition.stage import COMPETITION_SCORES
from faq_pipeline.config.endpoint import Endpoint
from faq_pipeline.config.recipe import Judge
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from tests.competition.groups import make_candidate, make_group
from tests.inference.fake_server import Asked, FakeServer, Fault


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


def with_judge(cell: Cell, server: FakeServer, **settings: object) -> Cell:
    judge = Judge(endpoint=Endpoint(base_urls=[server.url], model="fake"), **settings)  # type: ignore[arg-type]
    changes = {"experts": {"judge": 1.0}, "judge": judge}
    competition = cell.recipe.competition.model_copy(update=changes)
    return cell.with_recipe(cell.recipe.model_copy(update={"competition": competition}))


def score(cell: Cell, *groups: Group) -> list[float | None]:
    return EXPERTS["judge"].score(groups, Context(cell))


def group(*values: int, **changes: object) -> Group:
    """Candidates that say how good they are."""
    return make_group(*(make_candidate(i, f"value {v}", **changes) for i, v in enumerate(values)))


def shown(asked: Asked) -> tuple[int, int]:
    first, second = re.findall(r"value (\d+)", asked.prompt)
    return int(first), int(second)


def verdict(winner: str) -> str:
    return json.dumps({"reasons": "because", "winner": winner})


def honest(asked: Asked) -> str:
    first, second = shown(asked)
    return verdict("tie" if first == second else "first" if first > second else "second")


def test_the_better_candidate_wins_more_pairs(tiny_cell: Cell, server: FakeServer):
    server.reply = honest
    got = score(with_judge(tiny_cell, server), group(3, 1, 2), group(5, 5), group(1, 9, 4, 6))
    assert got == [1, 0, 0.5, 0.5, 0.5, 0, 1, pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert len(server.asked) == 2 * (3 + 1 + 6)


def test_every_pair_is_shown_in_both_orders(tiny_cell: Cell, server: FakeServer):
    server.reply = honest
    score(with_judge(tiny_cell, server), group(1, 2, 3))
    assert sorted(map(shown, server.asked)) == [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)]


def test_a_judge_who_prefers_a_place_decides_nothing(tiny_cell: Cell, server: FakeServer):
    server.reply = lambda asked: verdict("first")
    assert score(with_judge(tiny_cell, server), group(3, 1, 2)) == [0.5, 0.5, 0.5]


def test_large_groups_are_compared_in_a_ring(tiny_cell: Cell, server: FakeServer):
    server.reply = honest
    got = score(with_judge(tiny_cell, server), group(6, 5, 4, 3, 2, 1))
    pairs = {frozenset(shown(asked)) for asked in server.asked}
    assert pairs == {frozenset(p) for p in [(6, 5), (5, 4), (4, 3), (3, 2), (2, 1), (1, 6)]}
    assert len(server.asked) == 12
    assert got == [1, 0.5, 0.5, 0.5, 0.5, 0]


def test_candidates_that_cannot_win_are_not_compared(tiny_cell: Cell, server: FakeServer):
    server.reply = honest
    pair = (make_candidate(0, "value 1"), make_candidate(1, "value 9", finish="length"))
    assert score(with_judge(tiny_cell, server), make_group(*pair)) == [None, None]
    assert server.asked == []
    three = make_group(*pair, make_candidate(2, "value 3"))
    assert score(with_judge(tiny_cell, server), three) == [0, None, 1]


BAD: list[Callable[[Asked], str]] = [
    lambda asked: "the first one",
    lambda asked: json.dumps({"reasons": "", "winner": "A"}),
    lambda asked: json.dumps({"winner": "first"}),
    lambda asked: "",
]


@pytest.mark.parametrize("reply", BAD)
def test_without_a_valid_verdict_it_abstains(
    tiny_cell: Cell, server: FakeServer, reply: Callable[[Asked], str]
):
    server.reply = lambda asked: reply(asked) if 1 in shown(asked) else honest(asked)
    notes: list[str] = []
    context = Context(with_judge(tiny_cell, server))
    context.progress.note = notes.append  # type: ignore[method-assign]
    assert EXPERTS["judge"].score([group(3, 1, 2)], context) == [1, None, 0]
    assert notes == ["the judge gave no valid verdict in 4 of 6 comparisons"]


def test_half_a_pair_is_no_pair(tiny_cell: Cell, server: FakeServer):
    server.reply = lambda asked: "" if shown(asked) == (3, 1) else honest(asked)
    assert score(with_judge(tiny_cell, server), group(3, 1)) == [None, None]


def test_candidates_too_long_for_the_judge_are_left_out(tiny_cell: Cell, server: FakeServer):
    server.reply = honest
    server.fault = lambda asked: Fault("too long") if 2 in shown(asked) else None
    assert score(with_judge(tiny_cell, server), group(3, 1, 2)) == [1, 0, None]


def test_the_judge_sees_task_answer_and_rubric(tiny_cell: Cell, server: FakeServer):
    server.reply = honest
    cell = with_judge(tiny_cell, server, rubric="Only {{ brevity }} counts.")
    score(cell, make_group(*group(1, 2).candidates, answer="seven"))
    body = server.asked[0].body
    assert server.asked[0].path == "/v1/chat/completions"
    assert "Only {{ brevity }} counts." in server.asked[0].prompt
    assert "gives 5 away" in server.asked[0].prompt and "seven" in server.asked[0].prompt
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["reasons", "winner"]


def test_a_known_answer_is_named_only_where_there_is_one(tiny_cell: Cell, server: FakeServer):
    server.reply = honest
    score(with_judge(tiny_cell, server), make_group(*group(1, 2).candidates, answer=None))
    assert "Known correct answer" not in server.asked[0].prompt


def test_what_shapes_verdicts_is_part_of_the_scores_identity(tiny_cell: Cell, server: FakeServer):
    def fingerprinted(cell: Cell) -> str:
        return json.dumps(COMPETITION_SCORES.identity(cell), sort_keys=True)

    plain = fingerprinted(with_judge(tiny_cell, server))
    assert plain == fingerprinted(with_judge(tiny_cell, server))
    assert plain != fingerprinted(with_judge(tiny_cell, server, rubric="shorter is better"))
    assert "judge" not in fingerprinted(tiny_cell)
    with FakeServer() as elsewhere:
        assert plain == fingerprinted(with_judge(tiny_cell, elsewhere))
    other = Judge(endpoint=Endpoint(base_urls=[server.url], model="wiser"))
    assert judge_identity(other) != judge_identity(with_judge(tiny_cell, server).recipe.competition.judge)


def test_a_recipe_without_a_judge_cannot_use_the_expert(tiny_cell: Cell):
    with pytest.raises(FaqError, match=r"competition\.judge"):
        score(tiny_cell, group(1, 2))
    with pytest.raises(FaqError, match=r"competition\.judge"):
        judge_identity(None)


def test_a_judge_that_does_not_answer(tiny_cell: Cell, server: FakeServer):
    server.stop()
    with pytest.raises(FaqError, match="does not answer"):
        score(with_judge(tiny_cell, server), group(1, 2))
