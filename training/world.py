"""Prose about an invented world: passages with the facts that a careful reader would note."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from training.settings import read_yaml
from training.splits import GENERATOR_SEEDS, split_of


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage, its topic, the facts in order of telling, and a conclusion with its reason."""

    topic: str
    text: str
    notes: tuple[str, ...]
    reason: str
    conclusion: str


class World:
    """The places, people and topics in one file of prose/."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.places: list[dict[str, str]] = raw["places"]
        self.people: list[str] = raw["people"]
        self.words: dict[str, list[str]] = raw["words"]
        self.prompts: list[str] = raw["prompts"]
        self.topics: dict[str, dict[str, Any]] = raw["topics"]
        self.topic_names = tuple(sorted(self.topics))
        low, high = raw["numbers"]
        self._numbers = range(low, high + 1)
        self._facts = {fact: sorted({place[fact] for place in self.places}) for fact in self.places[0]}

    def bind(self, rng: Random, topic: dict[str, Any]) -> dict[str, Any]:
        """Draw names and numbers for one passage; places bring their own facts, no fact twice."""
        one, two = rng.sample(self.places, 2)
        words: dict[str, Any] = dict(one)
        for fact, value in two.items():
            if value == one[fact]:
                value = rng.choice([other for other in self._facts[fact] if other != value])
            words[f"{fact}2"] = value
        words["person"], words["person2"] = rng.sample(self.people, 2)
        n, m = rng.sample(self._numbers, 2)
        words |= {"n": n, "m": m, "sum": n + m, "diff": abs(n - m), "hi": max(n, m), "lo": min(n, m)}
        for kind, choices in self.words.items():
            words[kind] = rng.choice(choices)
        words |= rng.choice(topic["choose"])
        parties = [party.format_map(words) for party in topic["compare"]]
        words["more"], words["less"] = parties if n > m else parties[::-1]
        return words

    def passage(self, rng: Random, name: str) -> Passage:
        """One passage on a topic: needed sentences always, the others now and then."""
        topic = self.topics[name]
        words = self.bind(rng, topic)
        sentences, notes = [], []
        for slot in topic["slots"]:
            if "keep" not in slot and rng.random() < 0.2:
                continue
            drawn = rng.choice(slot["text"])
            sentences.append(capital(drawn.format_map(words)))
            if "note" in slot:
                notes.append(slot["note"].format_map(words))
            elif rng.random() < 0.6:
                more = rng.choice([text for text in slot["text"] if text != drawn])
                sentences.append(capital(more.format_map(words)))
        reason, conclusion = rng.choice(topic["close"])
        return Passage(
            name,
            " ".join(sentences),
            tuple(notes),
            capital(reason.format_map(words)),
            capital(conclusion.format_map(words)),
        )

    def passage_in_split(self, rng: Random, name: str, split: str) -> Passage:
        """One passage whose text falls into the given split."""
        while True:
            drawn = self.passage(rng, name)
            if split_of(drawn.text) == split:
                return drawn

    def distinct(self, split: str, count: int) -> Iterator[tuple[str, str]]:
        """Distinct passages of a split as (topic, text), the topics in turn."""
        rng = Random(f"passages/{GENERATOR_SEEDS[split]}")
        seen: set[str] = set()
        for index in range(count):
            topic = self.topic_names[index % len(self.topic_names)]
            while (text := self.passage_in_split(rng, topic, split).text) in seen:
                pass
            seen.add(text)
            yield topic, text


@cache
def load(path: Path) -> World:
    """Read a world once."""
    return World(read_yaml(path))


def capital(sentence: str) -> str:
    """The sentence with its first letter in upper case."""
    return sentence[0].upper() + sentence[1:]
