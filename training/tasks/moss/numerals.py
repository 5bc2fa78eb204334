"""Numbers written otherwise: Roman numerals and other bases."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.moss.words import NAMES

_ONES = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
_TENS = ("", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC")
_HUNDREDS = ("", "C", "CC", "CCC", "CD", "D", "DC", "DCC", "DCCC", "CM")


def parts(number: int) -> list[tuple[int, str]]:
    """347 -> [(300, "CCC"), (40, "XL"), (7, "VII")]; below 1,000, without zero parts."""
    hundreds, tens, ones = number // 100, number // 10 % 10, number % 10
    found = [(100 * hundreds, _HUNDREDS[hundreds]), (10 * tens, _TENS[tens]), (ones, _ONES[ones])]
    return [part for part in found if part[0]]


def roman(number: int) -> str:
    """A number below 1,000 as a Roman numeral."""
    return "".join(letters for _, letters in parts(number))


def _read(number: int) -> Steps:
    found = ", ".join(f"{letters} {value}" for value, letters in parts(number))
    return [
        (found, f"The parts are {found}."),
        (f"{roman(number)} = {number}", f"Together {roman(number)} is {number}."),
    ]


def _write(number: int) -> Steps:
    split = " + ".join(str(value) for value, _ in parts(number))
    found = ", ".join(f"{value} {letters}" for value, letters in parts(number))
    return [
        (f"{number}: {split}", f"Split {number} into {split}."),
        (found, f"The parts are written {found}."),
        (roman(number), f"Together that is {roman(number)}."),
    ]


_READ = (
    "What number is {r}?",
    "Read the Roman numeral {r}.",
    "A stone bears the numeral {r}. Which number is it?",
    "{p} found {r} on a coin. Give it in digits.",
)
_WRITE = (
    "Write {n} as a Roman numeral.",
    "What is {n} in Roman numerals?",
    "{p} carves {n} in Roman numerals. What stands on the stone?",
)


@task("roman")
def roman_numeral(rng: Random, level: int) -> Draft:
    """Read a numeral, write one, or (level 4) add two."""
    if level == 4:
        a, b = rng.randint(11, 399), rng.randint(11, 99)
        question = f"Add the Roman numerals {roman(a)} and {roman(b)}. Answer with a Roman numeral."

        def add() -> Steps:
            line = (f"{a} + {b} = {a + b}", f"{a} plus {b} is {a + b}.")
            return [*_read(a), *_read(b), line, *_write(a + b)]

        return Draft(question, roman(a + b), "read both, add, write", add)
    number = rng.randint(2, 399 if level == 1 else 999)
    person = rng.choice(NAMES)
    if level == 1:
        question = rng.choice(_READ).format(r=roman(number), p=person)
        return Draft(question, str(number), "find the parts", lambda: _read(number))
    if level == 2:
        question = rng.choice(_WRITE).format(n=number, p=person)
        return Draft(question, roman(number), "split, write the parts", lambda: _write(number))
    more = rng.randint(2, 99)
    number = min(number, 900)
    question = f"{person} has the numeral {roman(number)} and adds {more}. Answer with a Roman numeral."

    def steps() -> Steps:
        total = number + more
        line = (f"{number} + {more} = {total}", f"{number} plus {more} is {total}.")
        return [*_read(number), line, *_write(total)]

    return Draft(question, roman(number + more), "read, add, write", steps)


def digits(number: int, base: int) -> str:
    """A number in a base up to ten."""
    written = ""
    while number:
        number, rest = divmod(number, base)
        written = str(rest) + written
    return written or "0"


def _from_base(written: str, base: int) -> Steps:
    """Digit by digit from the left: times the base, plus the digit."""
    value = int(written[0])
    steps: Steps = []
    for digit in map(int, written[1:]):
        raised = value * base
        steps.append(
            (
                f"{value} * {base} = {raised}, {raised} + {digit} = {raised + digit}",
                f"{value} times {base} is {raised}, and {digit} more is {raised + digit}.",
            )
        )
        value = raised + digit
    return steps


def _to_base(number: int, base: int) -> Steps:
    """Divide again and again; the rests, read upwards, are the digits."""
    steps: Steps = []
    left = number
    while left:
        whole, rest = divmod(left, base)
        steps.append((f"{left}: {whole} rest {rest}", f"{left} by {base} is {whole} with a rest of {rest}."))
        left = whole
    written = digits(number, base)
    return [*steps, (f"upwards: {written}", f"Read upwards, the rests are {written}.")]


_FROM = (
    "What is {w} from base {b} in base ten?",
    "The number {w} is written in base {b}. Give it in base ten.",
    "Turn base {b} number {w} into base ten.",
)
_TO = (
    "Write {n} in base {b}.",
    "What is {n} in base {b}?",
    "Turn {n} into base {b}.",
)
_BASE_RANGES = {1: (10, 99), 2: (40, 160), 3: (100, 600), 4: (20, 130)}


@task("base")
def base(rng: Random, level: int) -> Draft:
    """A number to a base of three to nine, from such a base (level 2), or (level 4) to another."""
    number = rng.randint(*_BASE_RANGES[level])
    radix = rng.randint(3, 9)
    if level == 2:
        written = digits(number, radix)
        question = rng.choice(_FROM).format(w=written, b=radix)
        return Draft(question, str(number), "from the left", lambda: _from_base(written, radix))
    if level < 4:
        question = rng.choice(_TO).format(n=number, b=radix)
        return Draft(question, digits(number, radix), "divide, keep rests", lambda: _to_base(number, radix))
    other = rng.choice([b for b in range(3, 10) if b != radix])
    written = digits(number, radix)
    question = f"The number {written} is written in base {radix}. Write it in base {other}."
    return Draft(
        question,
        digits(number, other),
        "to base ten, then divide",
        lambda: _from_base(written, radix) + _to_base(number, other),
    )
