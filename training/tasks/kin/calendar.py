"""Clock times and weekdays."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.kin.arithmetic import division_steps
from training.tasks.kin.words import PEOPLE

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def clock(minutes: int) -> str:
    """Minutes since midnight as HH:MM on the 24-hour clock."""
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def shift_steps(start: int, hours: int, minutes: int, sign: int) -> Steps:
    """Move a clock time by hours, then by minutes with an explicit carry."""
    steps: Steps = []
    mark, word = ("+", "plus") if sign > 0 else ("-", "minus")
    now = start
    if hours:
        raw = now // 60 + sign * hours
        wrap = f", {raw} -> {raw % 24}" if raw != raw % 24 else ""
        said = f", which is {raw % 24} on the clock" if wrap else ""
        now = raw % 24 * 60 + now % 60
        base = (raw - sign * hours) % 24
        steps.append(
            (
                f"hours: {base} {mark} {hours} = {raw}{wrap}: {clock(now)}",
                f"The hours are {base} {word} {hours}, so {raw}{said}. That makes {clock(now)}.",
            )
        )
    if minutes:
        base, hour = now % 60, now // 60
        raw = base + sign * minutes
        carry = ""
        said = ""
        if not 0 <= raw < 60:
            carry = f", {raw} {'-' if sign > 0 else '+'} 60 = {raw % 60}, hour {hour} -> {(hour + sign) % 24}"
            said = f", which is {raw % 60} with the hour going from {hour} to {(hour + sign) % 24}"
        now = (now + sign * minutes) % 1440
        steps.append(
            (
                f"minutes: {base} {mark} {minutes} = {raw}{carry}: {clock(now)}",
                f"The minutes are {base} {word} {minutes}, so {raw}{said}. That makes {clock(now)}.",
            )
        )
    return steps


_LATER = (
    "It is {t}. What time is it {d} later?",
    "A boat leaves at {t} and sails for {d}. When does it land?",
    "The clock shows {t}. What will it show after {d}?",
)
_EARLIER = (
    "It is {t}. What time was it {d} ago?",
    "A cart arrives at {t} after a drive of {d}. When did it leave?",
)


def _duration(hours: int, minutes: int) -> str:
    parts = [f"{hours} h"] if hours else []
    return " ".join([*parts, f"{minutes} min"] if minutes else parts)


@task("clock")
def clock_time(rng: Random, level: int) -> Draft:
    """A clock time moved forward or back; at level 4, moved twice."""
    start = rng.randrange(1440)
    sign = 1 if level == 1 or rng.random() < 0.5 else -1
    hours = 0 if level == 1 else rng.randint(1, 4 if level == 2 else 15)
    minutes = rng.randint(5, 55)
    middle = (start + sign * (60 * hours + minutes)) % 1440
    plan = "hours first, then minutes"
    text = rng.choice(_LATER if sign > 0 else _EARLIER).format(t=clock(start), d=_duration(hours, minutes))
    if level < 4:
        return Draft(text, clock(middle), plan, lambda: shift_steps(start, hours, minutes, sign))
    hours2, minutes2 = rng.randint(1, 9), rng.randint(5, 55)
    first, second = _duration(hours, minutes), _duration(hours2, minutes2)
    if sign > 0:
        text = f"It is {clock(start)}. What time is it after {first} and then another {second}?"
    else:
        text = (
            f"It is {clock(start)}. A watch began {first} ago, and {second} before that a bell rang."
            " When did the bell ring?"
        )
    end = (middle + sign * (60 * hours2 + minutes2)) % 1440

    def steps() -> Steps:
        return shift_steps(start, hours, minutes, sign) + shift_steps(middle, hours2, minutes2, sign)

    return Draft(text, clock(end), plan, steps)


def _walk(day: int, count: int, sign: int) -> Steps:
    """Reduce a number of days by whole weeks, then walk day by day."""
    steps = division_steps(count, 7) if count > 6 else []
    left = count % 7
    names = [DAYS[(day + sign * i) % 7] for i in range(1, left + 1)]
    mark, word = ("+", "forward") if sign > 0 else ("-", "back")
    path = ", ".join(names) if names else DAYS[day]
    steps.append(
        (
            f"{DAYS[day]} {mark} {left}: {path}",
            f"From {DAYS[day]} go {word} {left}: {path}.",
        )
    )
    return steps


_AFTER = (
    "Today is {d}. What day is it in {n} days?",
    "If it is {d} now, which weekday comes {n} days later?",
    "The fair opens {n} days after a {d}. On which weekday does it open?",
    "{p} leaves on a {d} and is back {n} days later. Which weekday is that?",
    "{p} starts work on a {d}. Which weekday is it {n} days after that?",
)
_BEFORE = (
    "Today is {d}. What day was it {n} days ago?",
    "If it is {d} now, which weekday was it {n} days earlier?",
    "{p} came home on a {d} after {n} days away. On which weekday did {p} leave?",
)
_TWICE = (
    "Today is {d}. A guest comes in {n} days and stays {m} days. On which weekday does the guest leave?",
    "A wall was begun on a {d}. The roof followed {n} days later and the door {m} days after the roof."
    " Which weekday was the door set?",
)
_SPANS = {1: (2, 13), 2: (14, 69), 3: (70, 699), 4: (30, 300)}


@task("weekday")
def weekday(rng: Random, level: int) -> Draft:
    """The weekday some days before or after another; at level 4, there and further."""
    day = rng.randrange(7)
    count = rng.randint(*_SPANS[level])
    sign = 1 if level == 1 or rng.random() < 0.5 else -1
    end = (day + sign * count) % 7
    plan = "drop whole weeks, then walk"
    text = rng.choice(_AFTER if sign > 0 else _BEFORE).format(d=DAYS[day], n=count, p=rng.choice(PEOPLE))
    if level < 4:
        return Draft(text, DAYS[end], plan, lambda: _walk(day, count, sign))
    more = rng.randint(8, 69)
    text = rng.choice(_TWICE).format(d=DAYS[day], n=count, m=more)
    middle = (day + count) % 7
    end = (middle + more) % 7
    return Draft(text, DAYS[end], plan, lambda: _walk(day, count, 1) + _walk(middle, more, 1))
