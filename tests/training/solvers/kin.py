"""Solvers of kin's questions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from graphlib import TopologicalSorter

WEEK = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def _numbers(text: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", text)]


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    assert found, f"cannot read {text!r}"
    return found.groups()


def multiply(question: str) -> str:
    a, b = _numbers(question)
    return str(sum(a for _ in range(b)))


def modulo(question: str) -> str:
    a, b = _numbers(question)
    while a >= b:
        a -= b
    return str(a)


def clock(question: str) -> str:
    hour, minute = map(int, _groups(r"(\d\d):(\d\d)", question))
    spans = re.findall(r"(\d+) (h|min)\b", question)
    assert spans
    total = timedelta()
    for amount, unit in spans:
        total += timedelta(hours=int(amount)) if unit == "h" else timedelta(minutes=int(amount))
    back = re.search(r"\bago\b|When did it leave|bell ring", question)
    at = datetime(2000, 6, 15, hour, minute)
    return (at - total if back else at + total).strftime("%H:%M")


def weekday(question: str) -> str:
    (named,) = {day for day in WEEK if day in question}
    days = sum(_numbers(question))
    back = re.search(r"\bago\b|\bearlier\b|came home", question)
    at = date(2001, 1, 1) + timedelta(days=WEEK.index(named))  # a Monday, and days after it
    return WEEK[(at + timedelta(days=-days if back else days)).weekday()]


def sort(question: str) -> str:
    left, falling = _numbers(question), "from largest" in question
    taken = []
    while left:
        taken.append(max(left) if falling else min(left))
        left.remove(taken[-1])
    return " ".join(map(str, taken))


def letters(question: str) -> str:
    words = _groups(r'"([a-z ]+)"', question)[0]
    letter = _groups(r"(?:letter|many) ([a-z]) (?:appear|in|are)\b", question)[0]
    return str(len([c for c in words if c == letter]))


def reverse(question: str) -> str:
    word = _groups(r'"([a-z]+)"', question)[0]
    return " ".join(word[::-1])


def truth(expression: str, values: dict[str, bool]) -> bool:
    """The value of an expression; Python happens to write and, or, not and brackets the same way."""
    assert re.fullmatch(r"(?:[A-D()\s]|and|or|not|true|false)+", expression), expression
    names = {**values, "true": True, "false": False}
    return bool(eval(expression, {"__builtins__": {}}, names))


def logic(question: str) -> str:
    values = {name: value == "true" for name, value in re.findall(r"([A-D]) is (true|false)\b", question)}
    expression = _groups(r"(?:\. What is|true or false:|evaluate) (.+?)[.?]$", question)[0]
    return str(truth(expression, values)).lower()


def table(question: str) -> str:
    head, *rows, asked = question.split("\n")
    columns = head.split(" | ")[1:]
    cells = {}
    for row in rows:
        name, *numbers = row.split(" | ")
        cells[name] = dict(zip(columns, map(int, numbers), strict=True))
    (column,) = [c for c in columns if re.search(rf"\b{c}\b", asked)]
    named = [name for name in cells if re.search(rf"\b{name}\b", asked)]
    if asked.startswith("Who has the most"):
        ranked = sorted(cells, key=lambda name: cells[name][column])
        assert cells[ranked[-1]][column] > cells[ranked[-2]][column], "two rows have the most"
        return ranked[-1]
    if "all rows together" in asked:
        assert not named
        named = list(cells)
    else:
        assert len(named) == (2 if re.search(r"together|Add", asked) else 1)
    return str(sum(cells[name][column] for name in named))


def swap(question: str) -> str:
    held = dict(re.findall(r"(\w+) has (\w+)(?=[,.])", question))
    for a, b in re.findall(r"\d\) (\w+) and (\w+) swap\.", question):
        held[a], held[b] = held[b], held[a]
    if "Which ball" in question:
        return held[_groups(r"Which ball does (\w+) have", question)[0]]
    colour = _groups(r"Who has the (\w+) ball", question)[0]
    (owner,) = [person for person, ball in held.items() if ball == colour]
    return owner


def order(question: str) -> str:
    more = {"taller", "older", "faster", "richer"}
    below: dict[str, set[str]] = {}
    for a, word, b in re.findall(r"(\w+) is (\w+) than (\w+)\.", question):
        high, low = (a, b) if word in more else (b, a)
        below.setdefault(low, set()).add(high)
    sorter = TopologicalSorter(below)
    sorter.prepare()
    line = []
    while sorter.is_active():
        (next_one,) = sorter.get_ready()  # more than one: the comparisons leave the order open
        line.append(next_one)
        sorter.done(next_one)
    asked = _groups(r"the (second )?(\w+)(?:\?| of them)", question)
    if asked[0]:
        return line[1]
    return line[0] if asked[1] in {"tallest", "oldest", "fastest", "richest"} else line[-1]


def _one(unit: str) -> str:
    return {"boxes": "box"}.get(unit, unit.removesuffix("s"))


def units(question: str) -> str:
    rules, asked = re.split(r"\. (?=How|Give)", question)
    steps = [(big, int(n), _one(small)) for big, n, small in re.findall(r"1 (\w+) is (\d+) (\w+)", rules)]
    sizes = {steps[-1][2]: 1}
    for big, number, small in reversed(steps):
        sizes[big] = number * sizes[small]
    if "whole" in asked:
        into, amount, unit = _groups(r"whole (\w+) do (\d+) (\w+) fill", asked)
        whole, rest = divmod(int(amount) * sizes[_one(unit)], sizes[_one(into)])
        return f"{whole} left {rest}"
    amounts = re.findall(r"(\d+) (\w+)", asked)
    target = _groups(r"(?:How many (\w+) are|in (\w+) alone)", asked)
    size = sizes[_one(target[0] or target[1])]
    total = sum(int(amount) * sizes[_one(unit)] for amount, unit in amounts)
    assert total % size == 0
    return str(total // size)


def shopping(question: str) -> str:
    bought = re.findall(r"(\d+) \w+ at (\d+)\b", question)
    total = sum(int(count) * int(price) for count, price in bought)
    paid = re.search(r"(?:pays with|From) (\d+) coins", question)
    assert len(_numbers(question)) == 2 * len(bought) + bool(paid)
    return str(int(paid.group(1)) - total if paid else total)


_CHANGES: dict[str, Callable[[int, int], int]] = {
    r"(?:finds|buys) (\d+) more": lambda now, k: now + k,
    r"gets (\d+) from \w+": lambda now, k: now + k,
    r"picks up (\d+)": lambda now, k: now + k,
    r"gives (\d+) to \w+": lambda now, k: now - k,
    r"(?:loses|sells) (\d+)": lambda now, k: now - k,
    r"puts (\d+) away": lambda now, k: now - k,
    r"doubles the pile()": lambda now, _: now * 2,
    r"makes the pile (\d+) times as large": lambda now, k: now * k,
    r"splits them into (\d+) equal parts and keeps one part": lambda now, k: now // k,
}


def story(question: str) -> str:
    opening, *events, _asked = question.split(". ")
    (now,) = _numbers(opening)
    for event in events:
        for pattern, change in _CHANGES.items():
            found = re.fullmatch(rf"(?:Then |Next |Later |After that )?\w+ {pattern}", event)
            if found:
                k = int(found.group(1) or 0)
                assert "equal parts" not in event or now % k == 0
                now = change(now, k)
                assert now > 0
                break
        else:
            raise AssertionError(f"cannot read {event!r}")
    return str(now)


SOLVERS: dict[str, Callable[[str], str]] = {
    "clock": clock,
    "letters": letters,
    "logic": logic,
    "modulo": modulo,
    "multiply": multiply,
    "order": order,
    "reverse": reverse,
    "shopping": shopping,
    "sort": sort,
    "story": story,
    "swap": swap,
    "table": table,
    "units": units,
    "weekday": weekday,
}
