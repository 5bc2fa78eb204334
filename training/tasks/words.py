"""Words that several tasks share. Short lists keep most of them single tokens."""

from random import Random

PEOPLE = tuple(
    "Ada Bram Cora Dain Elka Finn Gita Hale Ines Joro Kara Levi Mila Nils Olga Pell Rosa "
    "Sven Tova Ugo Vera Wim Yara Zeno Alma Boris Dora Emil Fay Gus".split()
)
THINGS = tuple(
    "apples pears plums eggs nuts shells coins stones beads candles ropes nails cups jars "
    "loaves fish onions melons bricks ribbons".split()
)
COLOURS = tuple("red blue green white black gold grey pink".split())
_ONSETS = tuple("b d f g k l m n p r s t v z br dr gr kl pl st tr".split())
_VOWELS = tuple("a e i o u a e o".split())
_CODAS = ("", "", "", "n", "l", "r", "s", "m")


def pseudoword(rng: Random, least: int, most: int) -> str:
    """A pronounceable invented word of `least` to `most` letters."""
    length = rng.randint(least, most)
    word = ""
    while len(word) < length:
        word += rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
    return word[:length]
