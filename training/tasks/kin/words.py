"""Words that several tasks share. Short lists keep most of them single tokens."""

from random import Random

# fmt: off
PEOPLE = (
    "Ada", "Bram", "Cora", "Dain", "Elka", "Finn", "Gita", "Hale", "Ines", "Joro",
    "Kara", "Levi", "Mila", "Nils", "Olga", "Pell", "Rosa", "Sven", "Tova", "Ugo",
    "Vera", "Wim", "Yara", "Zeno", "Alma", "Boris", "Dora", "Emil", "Fay", "Gus",
)
THINGS = (
    "apples", "pears", "plums", "eggs", "nuts", "shells", "coins", "stones", "beads", "candles",
    "ropes", "nails", "cups", "jars", "loaves", "fish", "onions", "melons", "bricks", "ribbons",
)
COLOURS = ("red", "blue", "green", "white", "black", "gold", "grey", "pink")
_ONSETS = (
    "b", "d", "f", "g", "k", "l", "m", "n", "p", "r",
    "s", "t", "v", "z", "br", "dr", "gr", "kl", "pl", "st", "tr",
)
_VOWELS = ("a", "e", "i", "o", "u", "a", "e", "o")
# fmt: on
_CODAS = ("", "", "", "n", "l", "r", "s", "m")


def pseudoword(rng: Random, least: int, most: int) -> str:
    """A pronounceable invented word of `least` to `most` letters."""
    length = rng.randint(least, most)
    word = ""
    while len(word) < length:
        word += rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
    return word[:length]
