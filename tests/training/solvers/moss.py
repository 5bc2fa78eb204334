"""Solvers of moss's questions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import pairwise
from statistics import mean
from types import CodeType

_LETTERS = {"M": 1000, "D": 500, "C": 100, "L": 50, "X": 10, "V": 5, "I": 1}
_MONTHS = [
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
]


def _numbers(text: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", text)]


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    assert found, f"cannot read {text!r}"
    return found.groups()


def _value(numeral: str) -> int:
    values = [_LETTERS[letter] for letter in numeral]
    return sum(-a if a < b else a for a, b in pairwise([*values, 0]))


@cache
def _numerals() -> dict[int, str]:
    """Every numeral below 1,200, put together letter by letter as the rules allow."""
    tens = {}
    for one, five, ten, size in (("I", "V", "X", 1), ("X", "L", "C", 10), ("C", "D", "M", 100)):
        digits = ["", one, one * 2, one * 3, one + five, five, five + one, five + one * 2, five + one * 3]
        tens[size] = [*digits, one + ten]
    return {
        1000 * m + 100 * h + 10 * t + o: "M" * m + tens[100][h] + tens[10][t] + tens[1][o]
        for m in range(2)
        for h in range(10)
        for t in range(10)
        for o in range(10)
    }


def roman(question: str) -> str:
    numerals = re.findall(r"\b[IVXLCDM]+\b", question)
    total = sum(map(_value, numerals)) + sum(_numbers(question))
    asks_digits = re.search(r"[Ww]hat number|Which number|Read|in digits", question)
    return str(total) if asks_digits else _numerals()[total]


def _in_base(number: int, base: int) -> str:
    """By trial: the numeral that Python reads as the number."""
    power = 1
    while power * base <= number:
        power *= base
    written = ""
    while power:
        digit = max(d for d in range(base) if d * power <= number)
        number -= digit * power
        written += str(digit)
        power //= base
    return written


def base(question: str) -> str:
    source = re.search(
        r"(?:number |is )(\d+) (?:is written in|from) base (\d)|base (\d) number (\d+)", question
    )
    if source:
        written, radix = (source[1], source[2]) if source[1] else (source[4], source[3])
        number = int(written, int(radix))
    else:
        number = _numbers(question)[0]
    target = re.search(r"(?:Write it in|in|into) base (\d)[.?]$", question)
    if "base ten" in question:
        return str(number)
    assert target
    return _in_base(number, int(target[1]))


@cache
def _ways(amount: int, greatest: int) -> frozenset[tuple[int, ...]]:
    """The shortest ways to pay an amount with coins no greater than `greatest`."""
    if amount == 0:
        return frozenset({()})
    found: set[tuple[int, ...]] = set()
    for coin in (1, 2, 5, 10, 20, 50, 100):
        if coin <= min(amount, greatest):
            found |= {(coin, *rest) for rest in _ways(amount - coin, coin)}
    least = min(map(len, found))
    return frozenset(way for way in found if len(way) == least)


def coins(question: str) -> str:
    numbers = _numbers(question)
    amount = numbers[0] if len(numbers) == 1 else numbers[1] - numbers[0]
    (way,) = _ways(amount, 100)
    return " + ".join(map(str, way))


def price(question: str) -> str:
    bought = [(n, cost) for cost, n in re.findall(r"pays (\d+) for (\d+)", question)]
    bought = bought or re.findall(r"(\d+) (?:\w+ )?(?:cost|for) (\d+)", question)
    each = [Fraction(int(cost), int(count)) for count, cost in bought]
    assert each and all(one.denominator == 1 for one in each)
    if "saved" in question:
        return str(abs(each[0] - each[1]) * int(_groups(r"saved on (\d+)", question)[0]))
    if "together" in question:
        return str(sum(each))
    many = re.search(r"(?:What do|would) (\d+)", question)
    return str(each[0] * int(many[1]) if many else each[0])


def percent(question: str) -> str:
    rates = [int(rate) for rate in re.findall(r"(\d+)%", question)]
    amount = Fraction(int(_groups(r"(?:% of |has |for |cost |price of )(\d+)", question)[0]))
    if re.search(r"% of (?:them|\d)", question):
        result = amount * rates[0] / 100
    else:
        ways = re.findall(r"cheaper|dearer|rises|falls", question)
        result = amount
        for rate, way in zip(rates, ways, strict=True):
            result *= 1 + Fraction(rate if way in ("dearer", "rises") else -rate, 100)
        number = re.search(r"for (\d+) such", question)
        result *= int(number[1]) if number else 1
    assert result.denominator == 1
    return str(result)


def _rules(gaps: list[int]) -> Iterator[int]:
    """What the next gap is by each rule that fits."""
    if len(set(gaps)) == 1:
        yield gaps[0]
    elif all(a == b for a, b in zip(gaps, gaps[2:], strict=False)) and len(gaps) > 3:
        yield gaps[-2]
    if len({b - a for a, b in pairwise(gaps)} - {0}) == 1 and len(gaps) > 2:
        yield gaps[-1] + gaps[-1] - gaps[-2]


def sequence(question: str) -> str:
    terms = _numbers(question)
    (step,) = set(_rules([b - a for a, b in pairwise(terms)]))
    return str(terms[-1] + step)


def average(question: str) -> str:
    if "fourth" in question:
        count, goal, *known = _numbers(question)
        (found,) = [n for n in range(4 * goal + 1) if mean([*known, n]) == goal]
        assert count == len(known) + 1
        return str(found)
    return str(mean(_numbers(question)))


def decimals(question: str) -> str:
    shown = re.findall(r"\d+\.\d+", question)
    return (max if "largest" in question else min)(shown, key=Decimal)


def equation(question: str) -> str:
    left, right = _groups(r"([x0-9][x0-9()+ -]*) = ([x0-9+ -]*[x0-9])", question)

    def side(text: str) -> CodeType:
        return compile(re.sub(r"(\d)([x(])", r"\1*\2", text), text, "eval")

    one, two = side(left), side(right)
    (found,) = [x for x in range(200) if eval(one, {"x": x}) == eval(two, {"x": x})]
    return str(found)


def dates(question: str) -> str:
    named = re.findall(rf"(\d+) ({'|'.join(_MONTHS)})", question)
    days = [date(2001, _MONTHS.index(month) + 1, int(day)) for day, month in named]
    if len(days) == 2:
        return str((days[1] - days[0]).days)
    (count,) = [int(n) for n in re.findall(r"(\d+) days", question)]
    then = days[0] + timedelta(days=count)
    return f"{then.day} {_MONTHS[then.month - 1]}"


def sets(question: str) -> str:
    lists = [words.split(", ") for words in re.findall(r"\w+ has ([a-z, ]+)\.", question)]
    owners = re.findall(r"(\w+) has [a-z, ]+\.", question)
    if "only one of them" in question:
        one, two = lists
        return ", ".join([w for w in one + two if (w in one) != (w in two)])
    if "not have" in question:
        owner, without = _groups(r"things of (\w+) does (\w+) not have", question)
        assert [owner, without] == owners
        return ", ".join(w for w in lists[0] if w not in lists[1])
    assert _groups(r"as (\w+) lists", question)[0] == owners[0]
    return ", ".join(w for w in lists[0] if all(w in other for other in lists))


_WAYS = {"north": 1j, "south": -1j, "east": 1, "west": -1}


def grid(question: str) -> str:
    x, y = map(int, _groups(r"\((\d+), (\d+)\)", question))
    place = complex(x, y)
    looks = re.search(r"looks (\w+)", question)
    if looks:
        way = complex(_WAYS[looks[1]])
        for turn, count in re.findall(r"turns (\w+) and goes (\d+)", question):
            way *= 1j if turn == "left" else -1j
            place += way * int(count)
    else:
        for count, name in re.findall(r"(\d+) (north|south|east|west)", question):
            place += _WAYS[name] * int(count)
    return f"({round(place.real)}, {round(place.imag)})"


def ages(question: str) -> str:
    known = {name: int(age) for name, age in re.findall(r"(\w+) is (\d+)\.", question)}
    rules = re.findall(
        r"(\w+) is (twice|half|\d+ years) (?:as )?(old|older|younger) (?:as|than) (\w+)", question
    )
    assert len(rules) == question.count(". ") - 1
    while len(known) <= len(rules):
        for name, amount, way, other in rules:
            if other in known and name not in known:
                age = Fraction(known[other])
                if amount in ("twice", "half"):
                    age *= 2 if amount == "twice" else Fraction(1, 2)
                else:
                    age += int(amount.split()[0]) * (1 if way == "older" else -1)
                assert age.denominator == 1 and age > 0
                known[name] = int(age)
    asked = _groups(r"How old (?:is|will) (\w+)", question)[0]
    later = re.search(r"in (\d+) years", question)
    return str(known[asked] + (int(later[1]) if later else 0))


def cipher(question: str) -> str:
    keys = [
        dict(pair.split() for pair in shown.split(", "))
        for shown in re.findall(r"of \w+ is ((?:\w \w, )*\w \w)\.", question)
    ]
    (text,) = re.findall(r"(?:Put|does) ((?:\w )+)(?:into|mean)", question)
    if "mean" in question:
        keys = [{code: sign for sign, code in keys[0].items()}]
    for key in keys:
        text = " ".join(key[sign] for sign in text.split())
    return text


SOLVERS: dict[str, Callable[[str], str]] = {
    "ages": ages,
    "average": average,
    "base": base,
    "cipher": cipher,
    "coins": coins,
    "dates": dates,
    "decimals": decimals,
    "equation": equation,
    "grid": grid,
    "percent": percent,
    "price": price,
    "roman": roman,
    "sequence": sequence,
    "sets": sets,
}
