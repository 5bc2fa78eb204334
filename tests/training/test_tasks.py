"""Every task's answers and reasoning, held against solvers that only read the question."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.conftest import tokenizer_of
from tests.training.solvers import SOLVERS
from tests.training.solvers.kin import truth
from training import evaluate
from training.settings import Settings, family_names
from training.settings import settings as family_settings
from training.tasks import LEVELS, STYLES, TASKS, Problem, draw
from training.tasks.base import task
from training.tasks.kin.logic import reduce_once

_PER_LEVEL = 75
_SUM = re.compile(r"(?<!\d)(-?\d+) ([-+*/]) (\d+) = (-?\d+)")
_WORKED = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}

FAMILY_OF = {name: family for family in family_names() for name in family_settings(family).tasks}
"""The family of each task: no two have one in common."""
ALL = tuple(FAMILY_OF)

any_problem = st.builds(
    lambda name, level, seed: draw(Random(seed), name, level),
    st.sampled_from(ALL),
    st.sampled_from(LEVELS),
    st.integers(0, 2**64),
)


def _problems(name: str) -> Iterator[Problem]:
    for level in LEVELS:
        rng = Random(f"test/{name}/{level}")
        for _ in range(_PER_LEVEL):
            yield draw(rng, name, level)


def test_every_task_has_a_solver(family: Settings) -> None:
    assert family.tasks == tuple(sorted(SOLVERS[family.name]))
    assert len(family.tasks) == 14


def test_no_task_is_in_two_families() -> None:
    assert sorted(ALL) == sorted(TASKS)
    assert len(ALL) == sum(len(family_settings(family).tasks) for family in family_names())


def _solve(problem: Problem) -> str:
    return SOLVERS[FAMILY_OF[problem.task]][problem.task](problem.question)


@pytest.mark.parametrize("name", ALL)
def test_answers_are_right(name: str) -> None:
    for problem in _problems(name):
        assert _solve(problem) == problem.answer, problem.question


@given(any_problem)
@settings(max_examples=400)
def test_any_answer_is_right(problem: Problem) -> None:
    assert _solve(problem) == problem.answer


@pytest.mark.parametrize("name", ALL)
def test_levels_get_harder(name: str) -> None:
    """A higher level takes more reasoning on average."""
    lengths = [0] * len(LEVELS)
    for problem in _problems(name):
        lengths[problem.level - 1] += len(problem.thought(0))
    assert lengths[0] < min(lengths[1:])
    assert lengths[1] < max(lengths[2:])


@pytest.mark.parametrize("name", ALL)
def test_thoughts_end_in_the_answer(name: str) -> None:
    for problem in _problems(name):
        assert len(set(problem.thoughts)) == len(STYLES) == 3
        for thought in problem.thoughts:
            ending = rf"(?:^|[\s=]){re.escape(problem.answer)}\.?$"
            assert re.search(ending, thought), (thought, problem.answer)
            assert "Answer:" not in thought, "the scorer would read it as the answer"
        equations, sentences, numbered = problem.thoughts
        assert sentences.endswith(problem.answer + ".")
        assert "\n" not in sentences
        plan, *steps, result = numbered.split("\n")
        assert plan.startswith("Plan: ")
        assert result == f"Result: {problem.answer}"
        assert [line.split(") ", 1)[1] for line in steps] == equations.split("\n")


@pytest.mark.parametrize("name", ALL)
def test_every_sum_in_the_reasoning_is_right(name: str) -> None:
    found = 0
    for problem in _problems(name):
        for thought in problem.thoughts:
            for a, sign, b, result in _SUM.findall(thought):
                assert _WORKED[sign](int(a), int(b)) == int(result), thought
                found += 1
    without = {"letters", "logic", "order", "reverse", "sort", "swap", "cipher", "decimals", "sets"}
    assert (found > 0) == (name not in without)


def test_clock_steps_carry_the_hour() -> None:
    carried = 0
    for problem in _problems("clock"):
        for line in problem.thought(0).split("\n"):
            for before, after, shown in re.findall(r"hour (\d+) -> (\d+): (\d\d):", line):
                sign = 1 if " + " in line.split("=")[0] else -1
                assert int(after) == int(shown) == (int(before) + sign) % 24, line
                carried += 1
            for raw, hour, shown in re.findall(r"hours: .*, (-?\d+) -> (\d+): (\d\d):", line):
                assert int(hour) == int(shown) == int(raw) % 24, line
        said = re.findall(r"from (\d+) to (\d+)\. That makes (\d\d):", problem.thought(1))
        assert len(said) == problem.thought(0).count("hour ")
        for before, after, shown in said:
            assert int(after) == int(shown) != int(before)
    assert carried > 50


def test_every_line_of_a_reduction_has_the_same_value() -> None:
    for problem in _problems("logic"):
        for line in problem.thought(0).split("\n"):
            assert str(truth(line.split(" = ")[0], {})).lower() == problem.answer, line


@given(st.booleans(), st.sampled_from(("and", "or")), st.booleans())
def test_reducing_one_operation(a: bool, sign: str, b: bool) -> None:
    left, right = str(a).lower(), str(b).lower()
    value = str(truth(f"{left} {sign} {right}", {})).lower()
    assert reduce_once((left, sign, right)) == (value, f"{left} {sign} {right} = {value}")
    assert reduce_once(("not", left))[0] == str(not a).lower()


@pytest.mark.parametrize("name", ALL)
def test_completions_stay_under_the_cap(name: str) -> None:
    family = family_settings(FAMILY_OF[name])
    chat, tokenizer = family.chat, tokenizer_of(family.name)
    prompts, completions = [], []
    for problem in _problems(name):
        prompts.append(chat.prompt(problem.question, chat.system_prompts[0]))
        for thought in problem.thoughts:
            completions.append(chat.completion(thought, f"Answer: {problem.answer}"))
    encode = tokenizer.backend_tokenizer.encode_batch_fast
    longest_prompt = max(len(encoding.ids) for encoding in encode(prompts))
    longest = max(len(encoding.ids) for encoding in encode(completions))
    assert longest <= evaluate.NEW_TOKENS
    assert longest_prompt + longest < family.row_tokens


@given(any_problem, st.sampled_from(range(3)))
@settings(max_examples=60)
def test_the_scorer_reads_the_answer(problem: Problem, style: int) -> None:
    chat = family_settings(FAMILY_OF[problem.task]).chat
    text = chat.completion(problem.thought(style), f"Answer: {problem.answer}")
    assert evaluate.read_answer(text.removesuffix(chat.end + chat.after)) == problem.answer


@pytest.mark.parametrize(
    ("text", "answer"), [("no", None), ("Answer: 5\nAnswer: 6", "5"), ("Answer:7 ", "7")]
)
def test_what_the_scorer_reads(text: str, answer: str | None) -> None:
    assert evaluate.read_answer(text) == answer


@given(st.sampled_from(ALL), st.sampled_from(LEVELS), st.integers())
@settings(max_examples=100)
def test_a_seed_decides_the_problem(name: str, level: int, seed: int) -> None:
    first, second = Random(seed), Random(seed)
    one, two = draw(first, name, level), draw(second, name, level)
    assert (one.question, one.answer, one.plan) == (two.question, two.answer, two.plan)
    before = first.getstate()
    assert one.thoughts == one.thoughts == two.thoughts
    assert first.getstate() == before == second.getstate(), "reasoning must not draw"


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        task("swap")(TASKS["swap"])
