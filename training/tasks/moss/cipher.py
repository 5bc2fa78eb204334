"""Substitution codes: small letters stand for great ones in a key, and those for digits in another."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.moss.words import NAMES

_SMALL = "abcdefghijklmnoprstuvwz"
_GREAT = _SMALL.upper()
_DIGITS = "123456789"
"""No sign is in two of these: it occurs once in a key, so that one place there says what it means."""
_SIZES = {1: (4, 3), 2: (6, 5), 3: (6, 5), 4: (5, 4)}
"""Signs in the key, signs in the message."""


def _key(rng: Random, plain: list[str], signs: str) -> dict[str, str]:
    return dict(zip(plain, rng.sample(signs, len(plain)), strict=True))


def _shown(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{a} {b}" for a, b in pairs)


def _look_up(message: list[str], key: dict[str, str]) -> tuple[list[str], tuple[str, str]]:
    """The message in code, and the step that looks up each sign, as the key has it."""
    coded = [key[sign] for sign in message]
    pairs = _shown(zip(message, coded, strict=True))
    return coded, (f"key: {pairs}", f"The key has {pairs}.")


@task("cipher")
def cipher(rng: Random, level: int) -> Draft:
    """A message put into code, read from code (level 3), or put into two codes in turn (level 4)."""
    size, length = _SIZES[level]
    key = _key(rng, rng.sample(_SMALL, size), _GREAT)
    used = {b: a for a, b in key.items()} if level == 3 else key
    message = rng.choices(list(used), k=length)
    text = " ".join(message)
    a, b = rng.sample(NAMES, 2)
    codes = f"The code of {a} is {_shown(key.items())}."
    result, look = _look_up(message, used)
    looks: Steps = [look]
    if level == 4:
        second = _key(rng, rng.sample(list(key.values()), size), _DIGITS)
        codes += f" That of {b} is {_shown(second.items())}."
        result, look = _look_up(result, second)
        looks.append(look)
    asked = {3: f"What does {text} mean?", 4: f"Put {text} into the first code, then that into the second."}
    answer = " ".join(result)
    return Draft(
        f"{codes} {asked.get(level, f'Put {text} into code.')}",
        answer,
        "look up each sign",
        lambda: [*looks, (f"code: {answer}", f"That gives {answer}.")],
    )
