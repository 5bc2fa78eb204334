"""Days between dates, and dates some days later, within one year from March to December."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.moss.words import NAMES

MONTHS = {
    "March": 31,
    "April": 30,
    "May": 31,
    "June": 30,
    "July": 31,
    "August": 31,
    "September": 30,
    "October": 31,
    "November": 30,
    "December": 31,
}
_NAMES = tuple(MONTHS)

_BETWEEN = (
    "How many days are there from {a} to {b}?",
    "{p} leaves on {a} and is back on {b}. How many days later is that?",
    "A letter of {a} arrives on {b}. How many days did it take?",
)
_LATER = (
    "Which date is {n} days after {a}?",
    "{p} borrows a book on {a} for {n} days. On which date is it due?",
    "It is {a}. {p} waits {n} days. Which date is it then?",
)


def _between(first: int, day: int, last: int, day2: int) -> Steps:
    """To the end of the first month, through whole months, and into the last."""
    if first == last:
        return [(f"{day2} - {day} = {day2 - day}", f"It is {day2} minus {day}, so {day2 - day}.")]
    month, length = _NAMES[first], MONTHS[_NAMES[first]]
    total = length - day
    steps: Steps = [
        (
            f"{month} {length}: {length} - {day} = {total}",
            f"{month} has {length} days, and {length} minus {day} leaves {total}.",
        )
    ]
    spans = [(name, MONTHS[name]) for name in _NAMES[first + 1 : last]] + [(_NAMES[last], day2)]
    for name, days in spans:
        steps.append(
            (
                f"{name}: {total} + {days} = {total + days}",
                f"With {days} in {name} it is {total} plus {days}, so {total + days}.",
            )
        )
        total += days
    return steps


def _later(month: int, day: int, count: int) -> tuple[str, Steps]:
    """The date some days later: add, then take whole months away."""
    now = day + count
    steps: Steps = [(f"{day} + {count} = {now}", f"{day} plus {count} is {now}.")]
    while now > MONTHS[_NAMES[month]]:
        name, length = _NAMES[month], MONTHS[_NAMES[month]]
        steps.append(
            (
                f"{name} {length}: {now} - {length} = {now - length}",
                f"{name} has {length} days, and {now} minus {length} leaves {now - length}.",
            )
        )
        now -= length
        month += 1
    date = f"{now} {_NAMES[month]}"
    return date, [*steps, (f"date: {date}", f"So the date is {date}.")]


@task("dates")
def dates(rng: Random, level: int) -> Draft:
    """Days within a month, to the next one, to a date later, or (level 4) over two to four months."""
    person = rng.choice(NAMES)
    if level == 3:
        month, day, count = rng.randrange(6), rng.randint(2, 28), rng.randint(20, 75)
        date, steps = _later(month, day, count)
        question = rng.choice(_LATER).format(a=f"{day} {_NAMES[month]}", n=count, p=person)
        return Draft(question, date, "add, take months away", lambda: steps)
    span = {1: 0, 2: 1, 4: rng.randint(2, 4)}[level]
    first = rng.randrange(len(_NAMES) - span)
    last = first + span
    if span:
        day, day2 = rng.randint(2, 28), rng.randint(2, 28)
    else:
        day, day2 = sorted(rng.sample(range(2, 30), 2))
    steps = _between(first, day, last, day2)
    days = sum(MONTHS[name] for name in _NAMES[first:last]) - day + day2
    question = rng.choice(_BETWEEN).format(a=f"{day} {_NAMES[first]}", b=f"{day2} {_NAMES[last]}", p=person)
    return Draft(question, str(days), "month by month", lambda: steps)
