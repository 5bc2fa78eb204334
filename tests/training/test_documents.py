"""Splits, passages, the mixture of documents and their packing into rows."""

from __future__ import annotations

import operator
import re
from collections import Counter
from dataclasses import replace
from random import Random
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import chat, reading, world
from training.documents import Documents, block
from training.questions import balanced
from training.settings import TOKENIZER
from training.settings import settings as family_settings
from training.splits import GENERATOR_SEEDS, SPLITS, split_of
from training.tasks import LEVELS, draw_in_split, names
from training.tokenizer import load

_BUCKETS = {"evaluation": {0}, "development": {1}, "seeds": {2}, "training": set(range(3, 16))}
_WORKED = {"+": operator.add, "-": operator.sub}


def _bucket(text: str) -> int:
    return crc32(text.encode()) % 16


def _texts(kind: str, document: str) -> list[str]:
    """The question or the passage in a training document: what must not be held out."""
    if kind == "prose":
        return [document]
    if kind == "terse":
        return [document.removeprefix("Question: ").rpartition("\nAnswer: ")[0]]
    if kind == "raw":
        lines = document.split("\n")
        asked = next(i for i, line in enumerate(lines) if " | " not in line)
        return ["\n".join(lines[: asked + 1])]
    user = document.split("<|im_start|>user\n")[1].split("<|im_end|>")[0]
    if kind == "reading":
        (passage,) = (part for part in user.split("\n\n") if "step by step" not in part)
        return [passage]
    return [user]


def test_the_splits_divide_all_buckets() -> None:
    assert set(SPLITS) == set(_BUCKETS) == set(GENERATOR_SEEDS)
    assert sorted(b for buckets in _BUCKETS.values() for b in buckets) == list(range(16))
    assert len(set(GENERATOR_SEEDS.values())) == 4


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_hash_decides_the_split(text: str) -> None:
    assert _bucket(text) in _BUCKETS[split_of(text)]


@pytest.mark.parametrize("split", SPLITS)
def test_generators_keep_to_their_split(split: str) -> None:
    rng = Random(split)
    for name in names():
        for level in LEVELS:
            assert _bucket(draw_in_split(rng, name, level, split).question) in _BUCKETS[split]
    for topic in world.topic_names():
        assert _bucket(world.passage_in_split(rng, topic, split).text) in _BUCKETS[split]


@pytest.mark.parametrize("kind", tuple(family_settings().mix.documents))
def test_no_training_document_holds_a_held_out_text(kind: str) -> None:
    stream = Documents(family_settings(), Random(f"held out/{kind}"))
    for _ in range(300):
        for text in _texts(kind, stream.draw(kind)):
            assert _bucket(text) in _BUCKETS["training"], text


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="poem"):
        Documents(family_settings(), Random(1)).draw("poem")


def test_documents_come_in_the_shares_of_the_mix() -> None:
    mix = family_settings().mix
    stream = Documents(family_settings(), Random("shares"))
    drawn = Counter(stream.kind() for _ in range(20_000))
    for kind, weight in mix.documents.items():
        assert drawn[kind] / 20_000 == pytest.approx(weight / sum(mix.documents.values()), abs=0.015)


@given(st.integers(), st.sampled_from(world.topic_names()))
@settings(max_examples=300, deadline=None)
def test_conclusions_follow_from_the_passage(seed: int, topic: str) -> None:
    drawn = world.passage(Random(seed), topic)
    assert drawn == world.passage(Random(seed), topic)
    assert "{" not in drawn.text + drawn.reason + drawn.conclusion + "".join(drawn.notes)
    told = set(re.findall(r"\d+", drawn.text))
    assert {number for note in drawn.notes for number in re.findall(r"\d+", note)} <= told
    for high, low in re.findall(r"(\d+) is more than (\d+)", drawn.reason):
        assert int(high) > int(low)
        assert {high, low} <= told
    for a, sign, b, result in re.findall(r"(\d+) ([-+]) (\d+) = (-?\d+)", drawn.reason):
        assert _WORKED[sign](int(a), int(b)) == int(result)
        assert {a, b} <= told
        assert f" {result} " in drawn.conclusion
    for style in range(reading.STYLES):
        thought = reading.thought(drawn, style)
        assert thought.endswith(drawn.reason)
        assert all(note in thought for note in drawn.notes)


def test_every_topic_argues_with_numbers() -> None:
    for topic in world.topic_names():
        reasons = "\n".join(reason for reason, _ in world.topics()[topic]["close"])
        assert re.search(r"\{hi\}|\{n\}|\{m\}", reasons), topic


@pytest.mark.parametrize("split", ["seeds", "development", "evaluation"])
def test_balanced_questions(split: str) -> None:
    problems = balanced(split, 56 * 3 + 5)
    assert len({p.question for p in problems}) == len(problems) == 56 * 3 + 5
    assert set(Counter((p.task, p.level) for p in problems[: 56 * 3]).values()) == {3}
    again = balanced(split, 56)
    assert [p.question for p in again] == [p.question for p in problems[:56]]


def test_rows_start_with_a_document_and_do_not_depend_on_their_neighbours() -> None:
    small = replace(family_settings(), row_tokens=128)
    tokenizer = load(TOKENIZER)
    rows = block(small, tokenizer, 7, 6)
    assert rows.shape == (6, 128)
    assert rows.dtype == np.uint16
    assert np.array_equal(rows[:2], block(small, tokenizer, 7, 2))
    assert not np.array_equal(rows, block(small, tokenizer, 8, 6))
    stream = Documents(small, Random(f"{small.seed}/{GENERATOR_SEEDS['training']}/7"))
    for row in rows:
        text = tokenizer.decode(row.tolist(), skip_special_tokens=False)
        written = ""
        while len(written) < len(text):
            assert text.startswith(written)
            document = next(stream)
            assert document.endswith(chat.END_OF_TEXT)
            written += document
        assert written.startswith(text), "only the row's last document is cut off"
