"""The exact choice of one option for each unit that costs least within a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

CELLS = 4000
"""Most steps that a budget is divided into; sizes are rounded up to steps, so the budget is kept. What the
smallest options take is no part of it, so that these always fit where they should."""


class Option(NamedTuple):
    """What a unit can be: its size (a positive integer) and its cost."""

    size: int
    cost: float


def cheapest(units: Sequence[Sequence[Option]], budget: int) -> list[int]:
    """The index of the option of each unit: the least sum of costs with a sum of sizes of `budget` at most.

    Multiple-choice knapsack by dynamic programming over sizes; what counts is what options take above
    the smallest of their unit. Exact where the greatest common divisor of that divides the rest of the budget
    into at most `CELLS` steps, and where not, exact for sizes rounded up.
    Of equal costs the smaller size.

    Raises:
        ValueError: even the smallest options do not fit.
    """
    least = [min(option.size for option in unit) for unit in units]
    budget -= sum(least)
    if budget < 0:
        raise ValueError("no choice fits the budget")
    more = [[option.size - own for option in unit] for unit, own in zip(units, least, strict=True)]
    step = max(math.gcd(*(size for unit in more for size in unit)), -(-budget // CELLS), 1)
    sizes = [[-(-size // step) for size in unit] for unit in more]
    cells = budget // step
    # best[s]: the least cost of the units so far at a size of s steps; chosen: by which options.
    best: list[float] = [0.0, *[math.inf] * cells]
    chosen: list[list[int]] = []
    for unit, own in zip(units, sizes, strict=True):
        following, picked = [math.inf] * (cells + 1), [-1] * (cells + 1)
        for size, cost in enumerate(best):
            if cost == math.inf:
                continue
            for index, option in enumerate(unit):
                total = size + own[index]
                if total <= cells and cost + option.cost < following[total]:
                    following[total], picked[total] = cost + option.cost, index
        best = following
        chosen.append(picked)
    size = min(range(cells + 1), key=lambda at: (best[at], at))
    answer = []
    for picked, own in zip(reversed(chosen), reversed(sizes), strict=True):
        answer.append(picked[size])
        size -= own[answer[-1]]
    return answer[::-1]


def cheapest_bits(
    widths: Sequence[int],
    costs: Mapping[str, Sequence[float]],
    sizes: Mapping[str, int],
    average_bits: float,
) -> dict[str, int]:
    """The index in `widths` for each layer: the least sum of costs with that mean of bits over all weights.

    Args:
        costs: of each layer, one for each width.
        sizes: weights of each layer.

    Raises:
        ValueError: even the smallest width is too wide.
    """
    options = [
        [Option(sizes[name] * bits, cost) for bits, cost in zip(widths, own, strict=True)]
        for name, own in costs.items()
    ]
    budget = int(average_bits * sum(sizes[name] for name in costs))
    return dict(zip(costs, cheapest(options, budget), strict=True))
