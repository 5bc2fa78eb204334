from __future__ import annotations

import math

import pytest
import torch

from faq_pipeline.cell import Cell
from faq_pipeline.competition.answers import answers_match, final_answer
from faq_pipeline.competition.expert import Context, Group, groups_of
from faq_pipeline.competition.experts import EXPERTS, experts_named
from faq_pipeline.errors import FaqError
from tests.competition.groups import make_candidate, make_group, make_seed


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
    ],
)
def test_answers_that_do_not_match(text: str, expected: str):
    assert not answers_match(text, expected)


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
