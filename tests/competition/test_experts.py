from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.competition.answers import answers_match, final_answer, normalise
from faq_pipeline.competition.expert import Context, Group, groups_of
from faq_pipeline.competition.experts import EXPERTS, experts_named
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from tests.competition.groups import make_candidate, make_group, make_seed
from tests.inference.fake_server import FakeServer, Fault
from tests.inference.managed import Managed


def scores(name: str, cell: Cell, *groups: Group) -> list[float | None]:
    context = Context(cell)
    try:
        return EXPERTS[name].score(groups, context)
    finally:
        context.close()


def test_an_unknown_expert_is_named_with_the_known_ones():
    with pytest.raises(FaqError) as error:
        experts_named(["length", "lenght"])
    assert "'lenght'" in str(error.value) and "did you mean 'length'" in str(error.value)
    assert all(name in str(error.value) for name in EXPERTS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", "7"),
        ("So she keeps some.\nAnswer: 7", "7"),
        ("The answer is **1,200**.", "1200"),
        ("Answer: 7 apples", "7"),
        ("Answer: 7.0", "7"),
        ("#### 42", "42"),
        ("thus \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("Answer: 1/2", "0.5"),
        ("Answer: -3", "\u22123"),
        ("Answer: Tuesday.", "tuesday"),
        ("Answer: a,  b, c", "A, b, c"),
        ("Answer: 14:35", "14:35"),
        ("Answer: 3\nNo, wait.\nAnswer: 7", "7"),
        ("The answer is (B).", "B"),
        ("Answer: (B) Tuesday", "B"),
        ("Answer: B) Tuesday", "b"),
        ("Answer: B", "(B)"),
        ("Answer: [7]", "7"),
        ("so \\boxed{\\frac{1}{2}}", "1/2"),
        ("so \\boxed{-\\dfrac{1}{2}}", "-0.5"),
        ("so \\boxed{\\frac12}", "0.5"),
        ("so \\boxed{12\\text{ apples}}", "12"),
        ("Answer: \\(7\\)", "7"),
        ("Answer: 40\\%", "40"),
        ("Answer: 12 apples (3 boxes of 4)", "12"),
        ("Answer: Tuesday (the 3rd).", "Tuesday"),
        ("Answer: 3 hours 25 minutes", "3 h 25 min"),
        ("Answer: 3 h 25 min", "3 hours and 25 minutes"),
        ("It takes her 205 minutes.", "3 h 25 min"),
        ("Answer: 1.5 km (uphill)", "1,500 metres"),
        ("Answer: 3 h 25 min", "3 h 25 min"),
    ],
)
def test_answers_that_match(text: str, expected: str):
    assert answers_match(text, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "7"),
        ("Answer: 17", "7"),
        ("Answer: 7\nNo, wait.\nAnswer: 3", "7"),
        ("Answer: 7 or 8", "7"),
        ("Answer: 7.5", "7"),
        ("Answer: 7x", "7"),
        ("Answer: 14:35", "14"),
        ("Answer: 1/0", "1"),
        ("Answer: Tuesday or Monday", "Tuesday"),
        ("Answer: -7", "7"),
        ("12 - 5 = 7, so it is 8", "7"),
        ("The answer is (B).", "A"),
        ("Answer: (B) or (C)", "B"),
        ("Answer: (B) is wrong, (C) is right", "B"),
        ("Answer: a) is wrong, b) is right", "A"),
        ("Answer: a dog", "A"),
        ("so \\boxed{\\frac{1}{2}}", "12"),
        ("so \\boxed{\\frac{1}{2}}", "2"),
        ("so \\boxed{\\frac{1}{2}}", "2/1"),
        ("Answer: 12 apples (3 boxes of 4)", "3"),
        ("Answer: 12 apples (3 boxes of 4)", "4"),
        ("Answer: 7 (or 8)", "7"),
        ("Answer: f(3) = 7", "3"),
        ("Answer: 12 apples 3 boxes", "12"),
        ("Answer: 3 hours 25 minutes", "3 h 20 min"),
        ("Answer: 3 hours 25 minutes", "3"),
        ("Answer: 3 hours 25 minutes", "25 min"),
        ("Answer: 3 hours 25 minutes", "3 min 25 h"),
        ("Answer: 3 km", "3 h"),
        ("Answer: 3 km", "3 kg"),
        ("Answer: 5 km/h", "5 km"),
        ("Answer: -3 km", "3 km"),
        ("Answer: 3 apples", "3 pears"),
        ("Answer: (1, 2)", "(2, 1)"),
        ("Answer: 3 h or 4 h", "3 h"),
        ("Answer:", ""),
    ],
)
def test_answers_that_do_not_match(text: str, expected: str):
    assert not answers_match(text, expected)


MARKS = st.text(st.sampled_from("07a()[]{}\"'`*_$.!;,/-+ \t\\") | st.characters(), max_size=12)


@given(MARKS | MARKS.map("\\frac{{{}}}{{2}}".format) | MARKS.map("\\text{{{}}}".format))
def test_normalising_an_answer_again_changes_nothing(answer: str):
    once = normalise(answer)
    assert normalise(once) == once


@pytest.mark.parametrize("answer", ["((7))", '"(7)."', "(7).", "**(7.)**", "\\text{(7)}"])
def test_all_that_encloses_an_answer_is_ignored(answer: str):
    assert normalise(answer) == "7" and answers_match(f"Answer: {answer}", "7")


@pytest.mark.parametrize("answer", ["(a)(b)", "(1, 2)", "[1, 2)", "()", "(a) or (b)"])
def test_brackets_that_are_part_of_an_answer_stay(answer: str) -> None:
    assert normalise(answer) == answer


def test_the_last_line_is_the_answer_where_nothing_marks_one():
    assert final_answer("First this.\nThen that.\n\n") == "Then that."


def test_the_verifier_tells_right_from_wrong_and_abstains_without_an_answer(tiny_cell: Cell):
    pair = (make_candidate(0, "Answer: 7"), make_candidate(1, "Answer: 8"))
    assert scores("answer", tiny_cell, make_group(*pair), make_group(*pair, answer=None)) == [
        1,
        0,
        None,
        None,
    ]


def test_teacher_likelihood_is_per_token_and_abstains_where_no_model_wrote(tiny_cell: Cell):
    group = make_group(
        make_candidate(0, logprob=-5.0, tokens=10),
        make_candidate(1, logprob=None),
        make_candidate(2, tokens=0, logprob=0.0),
    )
    assert scores("teacher_likelihood", tiny_cell, group) == [-0.5, None, None]


def test_length_prefers_the_middle_and_is_symmetric_in_ratio(tiny_cell: Cell):
    texts = ("".join(chr(0x4E00 + i) for i in range(n)) for n in (50, 100, 200))
    group = make_group(*(make_candidate(i, text) for i, text in enumerate(texts)))
    half, middle, double = scores("length", tiny_cell, group)
    assert middle == 0
    assert half == pytest.approx(-math.log(2)) and double == pytest.approx(-math.log(2))


def test_candidates_cut_at_the_limit_do_not_move_the_middle(tiny_cell: Cell):
    cut = [make_candidate(i, "a" * 900, finish="length") for i in (1, 2, 3)]
    assert scores("length", tiny_cell, make_group(make_candidate(0, "word " * 4), *cut))[0] == 0


def test_degeneration_orders_texts_by_repetition(tiny_cell: Cell):
    texts = (
        "one two three four five six seven eight",
        "one two three four five one two three four five",
        "a " * 30,
    )
    fresh, repeated, loop = scores(
        "degeneration", tiny_cell, make_group(*(make_candidate(i, t) for i, t in enumerate(texts)))
    )
    assert fresh == 1 and fresh > repeated > loop > 0


def test_groups_follow_the_seeds_and_their_candidates_the_positions():
    seeds = [make_seed("s1"), make_seed("s0"), make_seed("s2")]
    candidates = [make_candidate(1), make_candidate(0), make_candidate(3, seed_id="s1")]
    groups = groups_of(seeds, candidates)
    assert [(g.seed.id, [c.position for c in g.candidates]) for g in groups] == [("s1", [3]), ("s0", [0, 1])]


def test_target_likelihood_is_the_targets_own_mean_log_probability(tiny_cell: Cell):
    thought = "<think>\n12 - 5 = 7\n</think>\n\nAnswer: 7"
    parts = {"reasoning": "12 - 5 = 7", "answer": "Answer: 7"}
    group = make_group(
        make_candidate(0, thought, **parts),
        make_candidate(1, "The river town."),
        make_candidate(2, model=None),
    )
    long = make_group(make_candidate(0, "word " * 2000))
    got = scores("target_likelihood", tiny_cell, group, long)
    assert got[2] is None and got[3] is None

    context = Context(tiny_cell)
    prompt = f"<|im_start|>user\n{group.seed.text}<|im_end|>\n<|im_start|>assistant\n"
    for score, reply in zip(got[:2], (thought, "The river town."), strict=True):
        head, tail = (
            context.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (prompt, reply + "<|im_end|>")
        )
        with torch.inference_mode():
            logits = context.model(input_ids=torch.tensor([head + tail])).logits[0].float()
        logprobs = logits.log_softmax(-1)
        each = [logprobs[len(head) + i - 1, token].item() for i, token in enumerate(tail)]
        assert score == pytest.approx(sum(each) / len(each), abs=0.02)


def test_target_likelihood_does_not_depend_on_who_shares_the_batch(tiny_cell: Cell):
    texts = ["Answer: 7", "The river town had a harvest. " * 6, "Mira gives apples away, so 7 remain."]
    group = make_group(*(make_candidate(i, t) for i, t in enumerate(texts)))
    together = scores("target_likelihood", tiny_cell, group)
    alone = [scores("target_likelihood", tiny_cell, make_group(c))[0] for c in group.candidates]
    assert together == pytest.approx(alone, abs=0.02)


@pytest.fixture
def served_cell(tiny_cell: Cell) -> Cell:
    evaluation = tiny_cell.recipe.evaluation.model_copy(update={"engine": "vllm"})
    return tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"evaluation": evaluation}))


def test_target_likelihood_asks_the_evaluations_engine_with_the_same_tokens(
    tiny_cell: Cell, served_cell: Cell, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[list[int], list[int]]] = []

    def in_memory(model, items, advance):
        seen.extend((item.prompt, item.reply) for item in items)
        return [0.0] * len(items)

    monkeypatch.setattr("faq_pipeline.models.likelihood.mean_logprobs", in_memory)
    group = make_group(*(make_candidate(i, t) for i, t in enumerate(["Answer: 7", "The river town."])))
    scores("target_likelihood", tiny_cell, group)
    with FakeServer() as server:
        managed = Managed(server, monkeypatch)
        got = scores("target_likelihood", served_cell, group)
    assert sorted(asked.prompt for asked in server.asked) == sorted(head + tail for head, tail in seen)
    # The fake server's log-probabilities.
    assert got == pytest.approx([-sum(tail) / len(tail) / 8 for _, tail in seen])
    assert managed.events == [f"up {tiny_cell.target.folder}", "down"]


def test_target_likelihood_abstains_where_the_server_has_no_room_or_refuses(
    served_cell: Cell, monkeypatch: pytest.MonkeyPatch
):
    group = make_group(*(make_candidate(i, text) for i, text in enumerate(["Answer: 8", "Answer: 9"])))
    context = Context(served_cell)
    lengths = [len(context.tokenizer(c.text)["input_ids"]) for c in group.candidates]
    assert lengths[0] == lengths[1]
    with FakeServer() as server:
        Managed(server, monkeypatch)
        scores("target_likelihood", served_cell, group)
        size = len(server.asked[0].prompt)
        # A server writes a token after what it scores.
        for room, able in ((size + 1, True), (size, False)):
            serving = served_cell.family.serving.model_copy(update={"context": room})
            cell = replace(served_cell, family=served_cell.family.model_copy(update={"serving": serving}))
            assert all((s is not None) == able for s in scores("target_likelihood", cell, group))
        server.fault = lambda asked: Fault("too long") if asked.prompt == server.asked[0].prompt else None
        assert [s is None for s in scores("target_likelihood", served_cell, group)].count(True) == 1
