"""Counting letters and reversing: tasks on the spelling of invented words."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.kin.words import pseudoword

_COUNT = (
    'How many times does the letter {c} appear in "{w}"?',
    'Count the letter {c} in "{w}".',
    'How many {c} are there in "{w}"?',
)
_SHAPES = {1: (1, 4, 6), 2: (1, 7, 10), 3: (2, 5, 7), 4: (3, 5, 7)}


@task("letters")
def count_letters(rng: Random, level: int) -> Draft:
    """How often a letter occurs in one to three words."""
    number, least, most = _SHAPES[level]
    words = [pseudoword(rng, least, most) for _ in range(number)]
    spelled = "".join(words)
    letter = rng.choice(spelled) if rng.random() < 0.9 else rng.choice("abdeiklmnoprst")
    count = spelled.count(letter)

    def steps() -> Steps:
        found = 0
        result: Steps = []
        for word in words:
            running = []
            for c in word:
                found += c == letter
                running.append(f"{c} {found}")
            said = f"{word} is spelled " + ", ".join(
                f"{c} ({letter} again)" if c == letter else c for c in word
            )
            result.append((" ".join(running), f"{said}; so far {found}."))
        result.append((f"{letter}: {count}", f"The letter {letter} appears {count}."))
        return result

    question = rng.choice(_COUNT).format(c=letter, w=" ".join(words))
    return Draft(question, str(count), "spell and count", steps)


_REVERSE = (
    'Spell "{w}" backwards.',
    'Write the letters of "{w}" in reverse order.',
    'Reverse "{w}" letter by letter.',
)
_LENGTHS = {1: (3, 4), 2: (5, 6), 3: (7, 9), 4: (10, 13)}


@task("reverse")
def reverse(rng: Random, level: int) -> Draft:
    """An invented word spelled backwards, letters separated by spaces."""
    word = pseudoword(rng, *_LENGTHS[level])
    answer = " ".join(reversed(word))

    def steps() -> Steps:
        places = " ".join(f"{i} {c}" for i, c in enumerate(word, 1))
        back = " ".join(f"{i} {word[i - 1]}" for i in range(len(word), 0, -1))
        forward = ", ".join(word)
        return [
            (places, f"The word is spelled {forward}."),
            (back, f"It has {len(word)} letters and ends in {word[-1]}."),
            (answer, f"From the end to the start it reads {answer}."),
        ]

    return Draft(rng.choice(_REVERSE).format(w=word), answer, "number the letters, read back", steps)
