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

from training import reading, world
from training.documents import Documents, block
from training.questions import balanced
from training.settings import Settings, family_names
from training.settings import settings as family_settings
from training.splits import GENERATOR_SEEDS, SPLITS, split_of
from training.tasks import LEVELS, draw_in_split
from training.tokenizer import load

_BUCKETS = {"evaluation": {0}, "development": {1}, "seeds": {2}, "training": set(range(3, 16))}
_WORKED = {"+": operator.add, "-": operator.sub}


def _bucket(text: str) -> int:
    return crc32(text.encode()) % 16


KINDS = ("think", "direct", "reading", "prose", "terse", "raw")
WORLDS = {family: world.load(family_settings(family).prose) for family in family_names()}


def _documents(family: Settings, seed: str) -> Documents:
    return Documents(family, family.mix, Random(seed))


def _texts(family: Settings, kind: str, document: str) -> list[str]:
    """The question or the passage in a training document: what must not be held out."""
    if kind == "prose":
        return [document]
    if kind == "terse":
        return [document.removeprefix("Question: ").rpartition("\nAnswer: ")[0]]
    if kind == "raw":
        lines = document.split("\n")
        asked = next(i for i, line in enumerate(lines) if " | " not in line)
        return ["\n".join(lines[: asked + 1])]
    chat = family.chat
    user = document.split(chat.open("user"))[1].split(chat.end)[0]
    if kind == "reading":
        return [max(user.split("\n\n"), key=len)]
    return [user]


def test_the_splits_divide_all_buckets() -> None:
    assert set(SPLITS) == set(_BUCKETS) == set(GENERATOR_SEEDS)
    assert sorted(b for buckets in _BUCKETS.values() for b in buckets) == list(range(16))
    assert len(set(GENERATOR_SEEDS.values())) == 4


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_hash_decides_the_split(text: str) -> None:
    assert _bucket(text) in _BUCKETS[split_of(text)]


@pytest.mark.parametrize("split", SPLITS)
def test_generators_keep_to_their_split(family: Settings, split: str) -> None:
    rng = Random(split)
    for name in family.tasks:
        for level in LEVELS:
            assert _bucket(draw_in_split(rng, name, level, split).question) in _BUCKETS[split]
    prose = WORLDS[family.name]
    for topic in prose.topic_names:
        assert _bucket(prose.passage_in_split(rng, topic, split).text) in _BUCKETS[split]


@pytest.mark.parametrize("kind", KINDS)
def test_no_training_document_holds_a_held_out_text(family: Settings, kind: str) -> None:
    stream = _documents(family, f"held out/{kind}")
    for _ in range(300):
        for text in _texts(family, kind, stream.draw(kind)):
            assert _bucket(text) in _BUCKETS["training"], text


def test_an_unknown_kind_is_refused(family: Settings) -> None:
    with pytest.raises(ValueError, match="poem"):
        _documents(family, "poem").draw("poem")


def test_documents_come_in_the_shares_of_every_mix(family: Settings) -> None:
    for member in family.members.values():
        assert set(member.mix.documents) == set(KINDS)
        stream = Documents(family, member.mix, Random("shares"))
        drawn = Counter(stream.kind() for _ in range(20_000))
        for kind, weight in member.mix.documents.items():
            share = weight / sum(member.mix.documents.values())
            assert drawn[kind] / 20_000 == pytest.approx(share, abs=0.015)


def test_a_member_learns_from_its_own_mix() -> None:
    """moss-1m has hardly any reasoning but equations, and easier questions than moss-3m."""
    family = family_settings("moss")
    planned, levels = {}, {}
    for name in ("moss-1m", "moss-3m"):
        stream = Documents(family, family.members[name].mix, Random("mixes"))
        planned[name] = sum("\nPlan: " in stream.draw("think") for _ in range(1000))
        levels[name] = sum(len(stream.draw("terse")) for _ in range(1000))
    assert planned["moss-1m"] < 80
    assert planned["moss-3m"] > 270
    assert levels["moss-1m"] < levels["moss-3m"]


@given(st.integers(), st.sampled_from([(name, topic) for name in WORLDS for topic in WORLDS[name].topics]))
@settings(max_examples=400)
def test_conclusions_follow_from_the_passage(seed: int, place: tuple[str, str]) -> None:
    prose, topic = WORLDS[place[0]], place[1]
    drawn = prose.passage(Random(seed), topic)
    assert drawn == prose.passage(Random(seed), topic)
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


def test_every_topic_argues_with_numbers(family: Settings) -> None:
    for name, topic in WORLDS[family.name].topics.items():
        reasons = "\n".join(reason for reason, _ in topic["close"])
        assert re.search(r"\{hi\}|\{n\}|\{m\}", reasons), name


def test_no_fact_is_told_of_both_places(family: Settings) -> None:
    prose, rng = WORLDS[family.name], Random("facts")
    for topic in prose.topics.values():
        for _ in range(50):
            words = prose.bind(rng, topic)
            for fact in prose.places[0]:
                assert words[fact] != words[f"{fact}2"]
            assert {fact: words[fact] for fact in prose.places[0]} in prose.places


def test_the_worlds_have_no_topic_in_common() -> None:
    assert WORLDS["kin"].topics.keys().isdisjoint(WORLDS["moss"].topics)


@pytest.mark.parametrize("split", ["seeds", "development", "evaluation"])
def test_balanced_questions(family: Settings, split: str) -> None:
    problems = balanced(family, split, 56 * 3 + 5)
    assert len({p.question for p in problems}) == len(problems) == 56 * 3 + 5
    assert set(Counter((p.task, p.level) for p in problems[: 56 * 3]).values()) == {3}
    again = balanced(family, split, 56)
    assert [p.question for p in again] == [p.question for p in problems[:56]]


def test_rows_start_with_a_document_and_do_not_depend_on_their_neighbours(family: Settings) -> None:
    small = replace(family, row_tokens=128)
    tokenizer = load(family.tokenizer)
    rows = block(small, small.mix, tokenizer, 7, 6)
    assert rows.shape == (6, 128)
    assert rows.dtype == np.uint16
    assert np.array_equal(rows[:2], block(small, small.mix, tokenizer, 7, 2))
    assert not np.array_equal(rows, block(small, small.mix, tokenizer, 8, 6))
    stream = _documents(small, f"{small.seed}/{GENERATOR_SEEDS['training']}/7")
    for row in rows:
        text = tokenizer.decode(row.tolist(), skip_special_tokens=False)
        written = ""
        while len(written) < len(text):
            assert text.startswith(written)
            document = next(stream)
            assert document.endswith(family.chat.end_of_text)
            written += document
        assert written.startswith(text), "only the row's last document is cut off"
