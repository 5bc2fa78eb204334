"""Substitution codes: letters looked up in a key, forwards, backwards or twice."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.moss.words import NAMES

_LETTERS = "abcdefghijklmnoprstuvwz"
_SIZES = {1: (4, 3), 2: (6, 5), 3: (6, 5), 4: (5, 4)}
"""Letters in the key, letters in the message."""


def _look_up(message: list[str], key: dict[str, str]) -> tuple[list[str], str, str]:
    """The message in code, and the step that looks up each letter."""
    coded = [key[letter] for letter in message]
    pairs = list(zip(message, coded, strict=True))
    terse = "key: " + ", ".join(f"{a} {b}" for a, b in pairs)
    said = ", ".join(f"{a} is {b}" for a, b in pairs)
    return coded, terse, f"By the key {said}."


@task("cipher")
def cipher(rng: Random, level: int) -> Draft:
    """Letters put into code, read from code (level 3), or put into code twice (level 4)."""
    size, length = _SIZES[level]
    plain = rng.sample(_LETTERS, size)
    if level == 4:
        coded = plain[1:] + plain[:1]  # a code of the same letters, so that it can be used twice
        order = rng.sample(range(size), size)
        key = {plain[i]: coded[i] for i in order}
    else:
        key = dict(zip(plain, rng.sample(_LETTERS, size), strict=True))
    shown = ", ".join(f"{a} {b}" for a, b in key.items())
    used = {b: a for a, b in key.items()} if level == 3 else key
    message = rng.choices(list(used), k=length)
    text = " ".join(message)
    person = rng.choice(NAMES)
    result, terse, said = _look_up(message, used)
    steps: Steps = [(terse, said)]
    if level == 4:
        result, terse, said = _look_up(result, used)
        steps.append((terse, said))
    answer = " ".join(result)
    steps.append((f"code: {answer}", f"That gives {answer}."))
    asked = {3: f"What does {text} mean?", 4: f"Put {text} into code twice."}
    question = f"The code of {person} is {shown}. {asked.get(level, f'Put {text} into code.')}"
    return Draft(question, answer, "look up each letter", lambda: steps)
