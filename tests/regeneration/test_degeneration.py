"""Empty and looping texts are found; lists, tables and rules are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.prompting.degeneration import REPEATS, SHORTEST, is_empty, is_looping

SOUND = [
    "",
    "ha ha ha ha",
    "Mira has 12 apples and gives 5 away. 12 - 5 = 7, so 7 remain.\nAnswer: 7",
    "count r: 1\ncount r: 2\ncount r: 3\ncount r: 4\ncount r: 5\ncount r: 6\ncount r: 7\n",
    "a title\n" + "-" * 200 + "\nand text",
    "| a | b |\n|" + "---|" * 60 + "\n| 1 | 2 |",
    "wide" + " " * 300 + "gap",
    "The same sentence said twice, which is long enough. " * 2,
]


@pytest.mark.parametrize("text", SOUND)
def test_sound_texts(text: str) -> None:
    assert not is_looping(text)


@pytest.mark.parametrize(
    "text",
    [
        "I think " + "the " * 30,
        "Start. " + "So we add the numbers again.\n" * 6,
        "一二三四五六七八" * 10,
        "000000000000000000000000" * 10,
        "It goes well at first, then it goes wrong: " + "wait, let me check; " * 5 + "done.",
    ],
)
def test_loops(text: str) -> None:
    assert is_looping(text)


@given(
    before=st.text(max_size=40),
    unit=st.text(alphabet="abcdefgh 123", min_size=2, max_size=120).filter(
        lambda u: u == " ".join(u.split())
    ),
    after=st.text(max_size=40),
)
def test_every_repeated_unit_is_found_wherever_it_stands(before: str, unit: str, after: str) -> None:
    rounds = max(REPEATS, SHORTEST // (len(unit) + 1) + 2)
    assert is_looping(before + "\n" + (unit + "\n") * (rounds + 1) + after)


def test_empty() -> None:
    assert is_empty("") and is_empty(" \n\t")
    assert not is_empty(".")
