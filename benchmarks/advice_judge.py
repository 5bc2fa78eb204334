"""How well figures of calibration sets predict the KL of a study's cells: see `benchmarks.advice`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import combinations
from statistics import StatisticsError, fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from faq_pipeline.advice.choice import chosen
from faq_pipeline.advice.prediction import PastCell
from faq_pipeline.advice.prediction import fit as fit_line

SOURCES = ("self-one", "teacher-one", "faq", "original-chat", "original-raw")
"""Arms that `faq advise` compares where nothing else is asked for."""
CHOICES = {
    "all": None,
    "sources": SOURCES,
    "sources but self": SOURCES[1:],
    "originals": SOURCES[3:],
}
"""Arms to choose among; None for all that there are."""
SMALL = (("small-teacher", "teacher-one"), ("small-raw", "original-raw"))
"""Arms that differ in their budget alone."""
RESAMPLES = 500
SET, POOL = ("draw", "arm"), ("draw",)
"""What is resampled: calibration sets for correlations, sets to choose among for regrets."""

Rows = list[dict[str, Any]]
Floats = npt.NDArray[np.float64]
Statistic = Callable[[Rows], float]
Choose = Callable[[Rows], dict[str, Any] | None]


def judge(rows: Rows, fit: Rows | None, figures: Sequence[str]) -> None:
    """Print the table of figures, over all conditions (target x quantizer) of the rows."""
    draws = sorted({row["draw"] for row in rows})
    print(f"{len(rows)} cells, {len(_by_condition(rows))} conditions, {len(draws)} draws")
    columns = ["figure", "rank correlation", "error of ln KL", *(f"regret, %: {name}" for name in CHOICES)]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name in figures:
        correlation = _shown(_interval(rows, partial(_correlation, name=name), SET), 2)
        error = _shown(_interval(rows, partial(_error, name=name, fit=fit), SET), 2)
        regrets = _regrets(rows, partial(_lowest, name=name))
        print(f"| {' | '.join([name, correlation, error, *regrets])} |")
    advised = partial(_advised, slope=_slope(fit or rows, "excess"))
    print(f"| {' | '.join(['faq advise', '', '', *_regrets(rows, advised)])} |")
    for arm in SOURCES:
        if any(row["arm"] == arm for row in rows):
            print(f"| {' | '.join([f'always {arm}', '', '', *_regrets(rows, partial(_always, arm=arm))])} |")
    better = _interval(rows, lambda some: _correlation(some, "excess") - _correlation(some, "fitness"), SET)
    nearer = _interval(rows, lambda some: _error(some, "excess", fit) - _error(some, "log_fitness", fit), SET)
    print(f"excess less fitness, rank correlation: {_shown(better, 3)}")
    print(f"excess less log_fitness, error of ln KL: {_shown(nearer, 3)}")
    for small, whole in SMALL:
        _compare_budgets(rows, small, whole)
    print("pairs of arms whose ratio lies in its interval: {} of {}".format(*_coverage(rows, fit or rows)))


def _compare_budgets(rows: Rows, small: str, whole: str) -> None:
    """Print what a smaller budget changes: means over cells, with standard errors."""
    known = {(row["member"], row["quantizer"], row["draw"], row["arm"]): row for row in rows}
    pairs = [(row, known.get((*key[:3], whole))) for key, row in known.items() if key[3] == small]
    both = [(one, other) for one, other in pairs if other is not None]
    if not both:
        return
    changes = {"ln KL": [math.log(one["kl"] / other["kl"]) for one, other in both]}
    for name in ("log_fitness", "excess"):
        changes[name] = [one[name] - other[name] for one, other in both]
    shown = ", ".join(
        f"{name} {np.mean(found):+.3f} (se {np.std(found, ddof=1) / math.sqrt(len(found)):.3f})"
        for name, found in changes.items()
    )
    print(f"{small} less {whole}, {len(both)} cells: {shown}")


def _coverage(rows: Rows, fit_rows: Rows) -> tuple[int, int]:
    """Pairs of arms whose ratio of KL (means over draws) lies in its predicted interval, and all pairs."""
    cells = [PastCell((r["member"], r["quantizer"]), r["arm"], r["excess"], r["kl"]) for r in fit_rows]
    line, inside, pairs = fit_line(cells), 0, 0
    for its in _by_condition(rows).values():
        means, arms = _arm_means(its), sorted({row["arm"] for row in its})
        excess = {arm: fmean(row["excess"] for row in its if row["arm"] == arm) for arm in arms}
        for one, other in combinations(arms, 2):
            ratio = line.ratio(excess[one], excess[other])
            inside += ratio.low <= math.exp(means[one] - means[other]) <= ratio.high
            pairs += 1
    return inside, pairs


def _by_condition(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str], Rows]:
    found: dict[tuple[str, str], Rows] = defaultdict(list)
    for row in rows:
        found[row["member"], row["quantizer"]].append(row)
    return found


def _correlation(rows: Rows, name: str) -> float:
    """Mean over conditions of Spearman's correlation."""
    found = [
        spearmanr([row[name] for row in its], [row["kl"] for row in its])[0]
        for its in _by_condition(rows).values()
        if len({row["set"] for row in its}) > 2
    ]
    return fmean(found)


def _error(rows: Rows, name: str, fit: Rows | None) -> float:
    """Root mean square error of ln KL in a condition: each draw predicted from the others, or from `fit`."""
    errors: list[float] = []
    for draw in sorted({row["draw"] for row in rows}):
        others = fit if fit is not None else [row for row in rows if row["draw"] != draw]
        slope = _slope(others, name)
        for its in _by_condition(row for row in rows if row["draw"] == draw).values():
            if len(its) < 2:
                continue
            x, y = _centred(its, name)
            errors += list((y - slope * x) * math.sqrt(len(its) / (len(its) - 1)))
    return math.sqrt(fmean(e * e for e in errors))


def _slope(rows: Rows, name: str) -> float:
    parts = [_centred(its, name) for its in _by_condition(rows).values()]
    return sum(float(x @ y) for x, y in parts) / sum(float(x @ x) for x, _ in parts)


def _centred(rows: Rows, name: str) -> tuple[Floats, Floats]:
    x, y = np.array([row[name] for row in rows]), np.log([row["kl"] for row in rows])
    return x - x.mean(), y - y.mean()


def _pools(rows: Iterable[dict[str, Any]]) -> list[Rows]:
    """Cells that a user would choose among: those of one condition and draw."""
    found: dict[tuple[Any, ...], Rows] = defaultdict(list)
    for row in rows:
        found[row["member"], row["quantizer"], row["draw"], row.get("copy")].append(row)
    return [pool for pool in found.values() if len(pool) > 1]


def _lowest(pool: Rows, name: str) -> dict[str, Any]:
    return min(pool, key=lambda row: row[name])


def _advised(pool: Rows, slope: float) -> dict[str, Any]:
    """The choice of `faq advise`, with that slope of ln KL by excess error."""
    ranked = sorted(pool, key=lambda row: row["excess"])
    ratios = [math.exp(slope * (row["excess"] - ranked[0]["excess"])) for row in ranked]
    return ranked[chosen(ratios, [row["sampled"] for row in ranked])]


def _always(pool: Rows, arm: str) -> dict[str, Any] | None:
    return next((row for row in pool if row["arm"] == arm), None)


def _regrets(rows: Rows, choose: Choose) -> list[str]:
    """The regret for each of `CHOICES`, with its interval; empty where there is no such choice."""
    found = []
    for arms in CHOICES.values():
        among = [row for row in rows if arms is None or row["arm"] in arms]
        try:
            found.append(_shown(_interval(among, partial(_regret, choose=choose), POOL), 0))
        except StatisticsError:
            found.append("")
    return found


def _regret(rows: Rows, choose: Choose) -> float:
    """Percent by which the geometric mean KL of the choices is above that of the best arms.

    An arm's KL is its geometric mean over draws: the best of single cells would be a lucky one.
    """
    logs = []
    for its in _by_condition(rows).values():
        means = _arm_means(its)
        for pool in _pools(its):
            if (choice := choose(pool)) is not None:
                logs.append(means[choice["arm"]] - min(means[row["arm"]] for row in pool))
    return 100 * (math.exp(fmean(logs)) - 1)


def _arm_means(rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        found[row["arm"]].append(math.log(row["kl"]))
    return {arm: fmean(values) for arm, values in found.items()}


def _interval(rows: Rows, statistic: Statistic, unit: Sequence[str]) -> tuple[float, float, float]:
    """The statistic with its 95% percentile interval over resampled units.

    Args:
        unit: columns whose values name one, with the target: a unit keeps all its quantizers.
    """
    value = statistic(rows)
    generator = np.random.default_rng(20_260_111)
    units: dict[tuple[Any, ...], Rows] = defaultdict(list)
    for row in rows:
        units[row["member"], *(row[column] for column in unit)].append(row)
    every, found = list(units.values()), []
    for picked in generator.integers(len(every), size=(RESAMPLES, len(every))):
        some = [{**row, "copy": n} for n, index in enumerate(picked) for row in every[index]]
        with suppress(StatisticsError):  # nothing to compare in this sample
            found.append(statistic(some))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return value, float(low), float(high)


def _shown(value: tuple[float, float, float], digits: int) -> str:
    return f"{value[0]:.{digits}f} [{value[1]:.{digits}f}, {value[2]:.{digits}f}]"
