"""Walks on a grid: the position after each move, by compass or (level 4) by turning."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task
from training.tasks.moss.words import NAMES

_COMPASS = ("north", "east", "south", "west")
_AXIS = {"north": (1, 1), "east": (0, 1), "south": (1, -1), "west": (0, -1)}
_MOVES = {1: 2, 2: 3, 3: 5, 4: 4}
_WALKS = (
    "{p} is at {at} and goes {moves}. Where is {p} now?",
    "From {at} walk {moves}. Where does the walk of {p} end?",
)


def _go(place: tuple[int, int], way: str, count: int) -> tuple[tuple[int, int], tuple[str, str]]:
    """The place after a move, and the step that works it out."""
    axis, sign = _AXIS[way]
    moved = list(place)
    moved[axis] += sign * count
    mark, word = ("+", "plus") if sign > 0 else ("-", "minus")
    sum_ = f"{place[axis]} {mark} {count} = {moved[axis]}"
    after = f"({moved[0]}, {moved[1]})"
    step = (
        f"{way} {count}: {sum_}: {after}",
        f"Going {way} makes {place[axis]} {word} {count}, so {moved[axis]} and {after}.",
    )
    return (moved[0], moved[1]), step


@task("grid")
def grid(rng: Random, level: int) -> Draft:
    """Where someone stands after some moves; x grows to the east and y to the north."""
    person = rng.choice(NAMES)
    start = place = (rng.randint(10, 40), rng.randint(10, 40))
    ways, route = _turned(rng) if level == 4 else _straight(rng, level)
    steps: Steps = []
    for way, count in ways:
        place, step = _go(place, way, count)
        steps.append(step)
    at = f"({start[0]}, {start[1]})"
    question = route.format(p=person, at=at)
    return Draft(question, f"({place[0]}, {place[1]})", "one move at a time", lambda: steps)


def _straight(rng: Random, level: int) -> tuple[list[tuple[str, int]], str]:
    """Moves by the compass, no two in a row the same way, and how they are told."""
    ways: list[tuple[str, int]] = []
    for _ in range(_MOVES[level]):
        way = rng.choice([w for w in _COMPASS if not ways or w != ways[-1][0]])
        ways.append((way, rng.randint(1, 4 if level == 1 else 6)))
    moves = ", ".join(f"{count} {way}" for way, count in ways)
    return ways, rng.choice(_WALKS).replace("{moves}", moves)


def _turned(rng: Random) -> tuple[list[tuple[str, int]], str]:
    """Moves ahead, after a turn each, and how they are told."""
    facing = rng.randrange(4)
    route = f"{{p}} is at {{at}} and looks {_COMPASS[facing]}. {{p}} "
    ways, parts = [], []
    for _ in range(_MOVES[4]):
        turn, count = rng.choice((1, -1)), rng.randint(1, 6)
        facing = (facing + turn) % 4
        ways.append((_COMPASS[facing], count))
        parts.append(f"turns {'right' if turn > 0 else 'left'} and goes {count}")
    return ways, route + ", ".join(parts) + ". Where is {p} now?"
