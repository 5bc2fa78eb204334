"""Coins, unit prices and percentages."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.moss.words import GOODS, NAMES

_COINS = (100, 50, 20, 10, 5, 2, 1)


def fewest(amount: int) -> list[int]:
    """The fewest coins that make an amount: always the greatest that fits."""
    taken = []
    for coin in _COINS:
        taken += [coin] * (amount // coin)
        amount %= coin
    return taken


def _pay(amount: int) -> Steps:
    taken = fewest(amount)
    steps: Steps = []
    left = amount
    for coin in taken:
        steps.append(
            (f"{left} - {coin} = {left - coin}", f"Take {coin} from {left}, which leaves {left - coin}.")
        )
        left -= coin
    listed = " + ".join(map(str, taken))
    return [*steps, (f"coins: {listed}", f"The coins are {listed}.")]


_ASK_COINS = (
    "{p} pays {n} with the fewest coins. Which coins?",
    "{p} owes {n} and pays with as few coins as can be. Which coins are these?",
    "Which are the fewest coins that make {n} for {p}?",
)
_AMOUNTS = {1: (3, 49), 2: (50, 99), 3: (100, 299)}


@task("coins")
def coins(rng: Random, level: int) -> Draft:
    """The fewest coins of 1, 2, 5, 10, 20, 50 and 100 for an amount or (level 4) for the change."""
    person = rng.choice(NAMES)
    if level == 4:
        paid = rng.choice((100, 200))
        price = rng.randint(3, paid - 51)
        change = paid - price
        question = (
            f"{person} buys for {price} and gives {paid}. Give the change in the fewest coins. Which coins?"
        )

        def steps() -> Steps:
            return [
                (f"{paid} - {price} = {change}", f"{paid} minus {price} is {change}."),
                *_pay(change),
            ]

        return Draft(question, " + ".join(map(str, fewest(change))), "find the change, pay it", steps)
    amount = rng.randint(*_AMOUNTS[level])
    answer = " + ".join(map(str, fewest(amount)))
    question = rng.choice(_ASK_COINS).format(p=person, n=amount)
    return Draft(question, answer, "greatest coins first", lambda: _pay(amount))


def _unit(count: int, total: int) -> tuple[str, str]:
    each = total // count
    return f"{total} / {count} = {each}", f"One is {total} by {count}, so {each}."


_ONE = (
    "{n} {g} cost {t}. What is the price of one?",
    "{p} pays {t} for {n} {g}. What does one cost?",
)
_MANY = (
    "{n} {g} cost {t}. What do {k} {g} cost?",
    "{p} pays {t} for {n} {g}. What would {k} of them cost?",
)


@task("price")
def price(rng: Random, level: int) -> Draft:
    """The price of one, of several, of two kinds, or (level 4) how much cheaper one stall is."""
    count, each = rng.randint(2, 9), rng.randint(2, 12 if level < 3 else 9)
    if level >= 3:
        return _two_prices(rng, level, count, each)
    good, person = rng.choice(GOODS), rng.choice(NAMES)
    total = count * each
    if level == 1:
        question = rng.choice(_ONE).format(n=count, g=good, t=total, p=person)
        return Draft(question, str(each), "divide", lambda: [_unit(count, total)])
    more = rng.choice([n for n in range(2, 13) if n != count])
    question = rng.choice(_MANY).format(n=count, g=good, t=total, p=person, k=more)
    cost = more * each
    line = (f"{more} * {each} = {cost}", f"{more} times {each} is {cost}.")
    return Draft(question, str(cost), "price of one, then of many", lambda: [_unit(count, total), line])


def _two_prices(rng: Random, level: int, count: int, each: int) -> Draft:
    """Two goods together (level 3), or the same good at two stalls (level 4)."""
    good, other = rng.sample(GOODS, 2)
    person = rng.choice(NAMES)
    count2, each2 = rng.randint(2, 9), rng.choice([n for n in range(2, 13) if n != each])
    units = [_unit(count, count * each), _unit(count2, count2 * each2)]
    if level == 3:
        question = (
            f"At the stall of {person} {count} {good} cost {count * each} and {count2} {other} cost"
            f" {count2 * each2}. What do one of the {good} and one of the {other} cost together?"
        )
        both = each + each2
        line = (f"{each} + {each2} = {both}", f"{each} plus {each2} is {both}.")
        return Draft(question, str(both), "price of one each, add", lambda: [*units, line])
    more, high, low = rng.randint(2, 12), max(each, each2), min(each, each2)
    saved = (high - low) * more
    question = (
        f"{person} sells {count} {good} for {count * each}, the next stall {count2} for {count2 * each2}."
        f" How much is saved on {more} {good} where they are cheaper?"
    )

    def steps() -> Steps:
        gap = high - low
        return [
            *units,
            (f"{high} - {low} = {gap}", f"The difference is {high} minus {low}, so {gap}."),
            (f"{more} * {gap} = {saved}", f"{more} times {gap} is {saved}."),
        ]

    return Draft(question, str(saved), "price of one each, compare", steps)


def _share(amount: int, percent: int) -> Steps:
    """A percentage in tens of an amount in tens: a tenth, so many times."""
    tenth, times = amount // 10, percent // 10
    steps: Steps = [(f"{amount} / 10 = {tenth}", f"A tenth of {amount} is {tenth}.")]
    if times > 1:
        taken = tenth * times
        steps.append((f"{tenth} * {times} = {taken}", f"{times} times {tenth} is {taken}."))
    return steps


def _changed(amount: int, percent: int, up: bool) -> tuple[int, Steps]:
    part = amount * percent // 100
    after = amount + part if up else amount - part
    mark, word = ("+", "plus") if up else ("-", "minus")
    line = (f"{amount} {mark} {part} = {after}", f"{amount} {word} {part} is {after}.")
    return after, [*_share(amount, percent), line]


@task("percent")
def percent(rng: Random, level: int) -> Draft:
    """A percentage of an amount, a reduced price, or a price changed once or twice."""
    person, good = rng.choice(NAMES), rng.choice(GOODS)
    rate = 10 * rng.randint(1, 9 if level == 1 else 6)
    if level == 1:
        amount = 10 * rng.randint(1, 40)
        question = rng.choice(
            (
                f"What is {rate}% of {amount}?",
                f"{person} has {amount} {good} and gives away {rate}% of them. How many is that?",
                f"Find {rate}% of {amount}.",
            )
        )
        return Draft(question, str(amount * rate // 100), "a tenth first", lambda: _share(amount, rate))
    amount = 10 * rng.randint(2, 40) if level == 2 else 100 * rng.randint(1, 9)
    up = level > 2 and rng.random() < 0.5
    first, steps = _changed(amount, rate, up)
    if level < 4:
        word = "dearer" if up else "cheaper"
        question = rng.choice(
            (
                f"{person} sells {good} for {amount}. They become {rate}% {word}. What is the new price?",
                f"The {good} cost {amount} and get {rate}% {word}. What do they cost {person} now?",
            )
        )
        if level == 3:
            number = rng.randint(2, 5)
            question = question[:-1] + f" for {number} such sets?"
            total = number * first
            last = (f"{number} * {first} = {total}", f"{number} times {first} is {total}.")
            return Draft(question, str(total), "change, then multiply", lambda: [*steps, last])
        return Draft(question, str(first), "a tenth first, then change", lambda: steps)
    rate2, up2 = 10 * rng.randint(1, 5), not up
    last_price, more = _changed(first, rate2, up2)
    words = ("rises", "falls") if up else ("falls", "rises")
    question = (
        f"A price of {amount} {words[0]} by {rate}% and then {words[1]} by {rate2}%."
        f" What does {person} pay in the end?"
    )
    return Draft(question, str(last_price), "one change at a time", lambda: [*steps, *more])
