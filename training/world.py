"""Prose about an invented world: passages with the facts that a careful reader would note."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import yaml

from training.splits import split_of
from training.tasks.words import COLOURS, PEOPLE

PLACES: tuple[tuple[str, str, str], ...] = (
    ("Ardel", "Ane", "barley soup"),
    ("Brenmoor", "Lode", "goat stew"),
    ("Calder", "Ane", "plum cake"),
    ("Dunwick", "Sorrel", "smoked eel"),
    ("Eskham", "Tarn", "nut bread"),
    ("Farrow", "Lode", "leek pie"),
    ("Glenmar", "Mirre", "bean porridge"),
    ("Harst", "Sorrel", "pear dumplings"),
    ("Ilmen", "Velde", "rye cakes"),
    ("Jorvale", "Tarn", "mushroom broth"),
    ("Keld", "Mirre", "honey buns"),
    ("Lorne", "Velde", "fried trout"),
    ("Marsk", "Ane", "onion tart"),
    ("Norrin", "Ister", "cheese bread"),
    ("Ostra", "Ister", "cabbage rolls"),
    ("Pellan", "Lode", "apple mash"),
    ("Quill", "Sorrel", "lentil stew"),
    ("Rusk", "Tarn", "oat pancakes"),
    ("Selby", "Mirre", "salt herring"),
    ("Torven", "Velde", "turnip soup"),
)
"""Town, its river, its dish: facts of this world that never change."""
RIVERS = tuple(sorted({river for _, river, _ in PLACES}))
CROPS = ("wheat", "barley", "rye", "oats", "flax", "hops")
SEASONS = ("spring", "summer", "autumn", "winter")
SIDES = ("north", "south", "east", "west")
WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage, its topic, the facts in order of telling, and a conclusion with its reason."""

    topic: str
    text: str
    notes: tuple[str, ...]
    reason: str
    conclusion: str


@cache
def topics() -> dict[str, dict[str, Any]]:
    """The grammar in prose.yaml, by topic."""
    text = files("training").joinpath("prose.yaml").read_text(encoding="utf-8")
    grammar: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return grammar


def topic_names() -> tuple[str, ...]:
    """All topics, in a fixed order."""
    return tuple(sorted(topics()))


def bind(rng: Random, topic: dict[str, Any]) -> dict[str, Any]:
    """Draw names and numbers for one passage; a town brings its own river and dish."""
    (town, river, dish), (town2, river2, _) = rng.sample(PLACES, 2)
    if river2 == river:
        river2 = rng.choice([name for name in RIVERS if name != river])
    person, person2 = rng.sample(PEOPLE, 2)
    n, m = rng.sample(range(4, 99), 2)
    words: dict[str, Any] = {
        "town": town,
        "town2": town2,
        "river": river,
        "river2": river2,
        "dish": dish,
        "person": person,
        "person2": person2,
        "n": n,
        "m": m,
        "sum": n + m,
        "diff": abs(n - m),
        "hi": max(n, m),
        "lo": min(n, m),
        "crop": rng.choice(CROPS),
        "season": rng.choice(SEASONS),
        "day": rng.choice(WEEK),
        "side": rng.choice(SIDES),
        "colour": rng.choice(COLOURS),
        **rng.choice(topic["choose"]),
    }
    parties = [party.format_map(words) for party in topic["compare"]]
    words["more"], words["less"] = parties if n > m else parties[::-1]
    return words


def capital(sentence: str) -> str:
    """The sentence with its first letter in upper case."""
    return sentence[0].upper() + sentence[1:]


def passage(rng: Random, name: str) -> Passage:
    """One passage on a topic: needed sentences always, the others now and then."""
    topic = topics()[name]
    words = bind(rng, topic)
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


def passage_in_split(rng: Random, name: str, split: str) -> Passage:
    """One passage whose text falls into the given split."""
    while True:
        drawn = passage(rng, name)
        if split_of(drawn.text) == split:
            return drawn
