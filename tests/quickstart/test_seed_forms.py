"""Prompts in other people's forms become seeds: what is in a row comes out, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.errors import FaqError
from faq_pipeline.quickstart.seed_conversion import Converted, convert
from faq_pipeline.quickstart.seed_forms import recognize
from faq_pipeline.regeneration.seeds import SeedRow

texts = st.text(min_size=1, max_size=40).filter(lambda text: bool(text.strip()))
answers = st.none() | texts


def ours(text: str, answer: str | None) -> dict[str, Any]:
    return {"id": "x", "text": text, "kind": "question", **({} if answer is None else {"answer": answer})}


def messages(text: str, answer: str | None) -> dict[str, Any]:
    reply = [] if answer is None else [{"role": "assistant", "content": answer}]
    return {"messages": [{"role": "user", "content": text}, *reply, {"role": "user", "content": "And then?"}]}


def parts(text: str, answer: str | None) -> dict[str, Any]:
    row = messages(text, answer)
    row["messages"][0]["content"] = [{"type": "text", "text": text}]
    return row


def sharegpt(text: str, answer: str | None) -> dict[str, Any]:
    reply = [] if answer is None else [{"from": "gpt", "value": answer}]
    return {"conversations": [{"from": "human", "value": text}, *reply]}


def alpaca(text: str, answer: str | None) -> dict[str, Any]:
    return {"instruction": text, "input": "", "output": answer or ""}


def column(text: str, answer: str | None) -> dict[str, Any]:
    return {"Question": text, "Answer": answer}


ROWS = [ours, messages, parts, sharegpt, alpaca, column]


def converted(*rows: Any) -> Converted:
    return convert(
        recognize([row for row in rows if isinstance(row, dict)]), enumerate(rows, 1), "file.jsonl"
    )


@pytest.mark.parametrize("row", ROWS)
@given(said=st.lists(st.tuples(texts, answers), min_size=1, max_size=8))
def test_every_prompt_and_its_answer_come_out_once_and_in_order(
    row: Any, said: list[tuple[str, str | None]]
) -> None:
    found = converted(*(row(text, answer) for text, answer in said))
    expected = dict(reversed(said))  # of equal prompts the first counts
    assert [seed.text for seed in found.seeds] == list(dict.fromkeys(text for text, _ in said))
    if row is ours:
        assert {seed.text: seed.answer for seed in found.seeds} == expected
    assert all(seed.answer in (None, expected[seed.text]) for seed in found.seeds)
    assert len(found.seeds) + len(found.refused) == len(said)


@pytest.mark.parametrize("row", ROWS)
@given(said=st.lists(st.tuples(texts, answers), min_size=1, max_size=8), odd=st.integers(0, 8))
def test_the_result_is_a_seed_file_whatever_lies_between(
    row: Any, said: list[tuple[str, str | None]], odd: int
) -> None:
    rows: list[Any] = [row(text, answer) for text, answer in said]
    rows.insert(min(odd, len(rows)), ["no", "object"])
    found = converted(*rows)
    for seed in found.seeds:
        fields = {key: value for key, value in vars(seed).items() if value is not None}
        SeedRow.model_validate(fields, strict=True)
    assert len({seed.id for seed in found.seeds}) == len(found.seeds)
    assert [one.line for one in found.refused if one.reason == "not an object"] == [min(odd, len(said)) + 1]
    assert {*found.lines} == {seed.id for seed in found.seeds}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["id", "text", "kind", "messages", "conversations", "instruction", "input", "prompt", "answer", "role"]
)


@given(rows=st.lists(st.dictionaries(keys, json_values, max_size=4), max_size=6))
def test_whatever_rows_hold_each_becomes_a_seed_or_is_refused_with_its_line(
    rows: list[dict[str, Any]],
) -> None:
    try:
        found = converted(*rows)
    except FaqError as error:
        assert "no prompts in the keys" in error.problem
        return
    lines = sorted([*found.lines.values(), *(one.line for one in found.refused)])
    assert lines == list(range(1, len(rows) + 1))


def test_half_a_character_is_refused() -> None:
    (refused,) = converted({"prompt": "Why \ud83d?"}, {"prompt": "Why?"}).refused
    assert refused.reason == "'prompt' holds half a character"


def test_what_the_system_says_comes_first() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is ice light?"}]
    assert converted({"messages": turns}).seeds[0].text == "Be brief.\n\nWhy is ice light?"


def test_alpaca_joins_the_instruction_and_its_input() -> None:
    row = {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"}
    (seed,) = converted(row).seeds
    assert seed.text == "Translate.\n\nGuten Tag"


@pytest.mark.parametrize("row", [messages, sharegpt, alpaca])
def test_only_a_reply_that_can_be_compared_is_an_answer(row: Any) -> None:
    replies = {
        "How many?": "1,200",
        "How long?": "3 h 25 min",
        "How many remain?": "7 of them remain.",
        "Why?": "Why not",
    }
    found = converted(*(row(text, reply) for text, reply in replies.items()))
    assert [seed.answer for seed in found.seeds] == ["1,200", "3 h 25 min", None, None]
    named = converted(
        {"q": 1, "question": "Who?", "answer": "Ada Lovelace"}, {"question": "Why?", "answer": "a " * 9}
    )
    assert [seed.answer for seed in named.seeds] == ["Ada Lovelace", None]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "no user's turn"),
        ({"messages": "Hi"}, "its turns are no list of objects"),
        ({"messages": [{"role": "user", "content": " "}]}, "the user's turn is empty"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a turn holds more than text"),
    ],
)
def test_a_row_without_a_prompt_is_refused(row: dict[str, Any], reason: str) -> None:
    (refused,) = converted(row).refused
    assert refused.reason == reason


def test_domain_source_and_licence_are_kept() -> None:
    row = {"prompt": "Why?", "category": "why", "source": "a book", "license": "MIT"}
    (seed,) = converted(row).seeds
    assert (seed.domain, seed.source, seed.licence, seed.kind) == ("why", "a book", "MIT", "question")
    assert [seed.domain for seed in converted({**row, "category": 3}).seeds] == ["3"]
    (empty,) = converted({"prompt": "Why?", "category": float("nan"), "license": float("nan")}).seeds
    assert (empty.domain, empty.licence) == ("general", "unknown")
    (text,) = converted({"passage": "It rains."}).seeds
    assert (text.domain, text.source, text.licence, text.kind) == ("general", "file.jsonl", "unknown", "text")


def test_unknown_keys_are_named() -> None:
    with pytest.raises(FaqError, match=r"no prompts in the keys colour, size"):
        recognize([{"colour": "red", "size": 3}])
