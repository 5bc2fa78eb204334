"""Selection `clusters`: clusters take turns, and samples with unusual activations come last."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from faq_pipeline.calibration.selectors import SELECTORS
from faq_pipeline.calibration.selectors.protocol import Pool
from tests.calibration.test_selectors import Measured, taken

TRACES = [1.0, 1.0, 1.0]


def measured_by(moments: list[list[float]], scratch: Path) -> tuple[list[list[int]], Measured]:
    return [[i] for i in range(len(moments))], Measured(TRACES, dict(enumerate(moments)), scratch)


def two_kinds() -> list[list[float]]:
    """Twelve loud and twelve uneven samples in turn, with noise."""
    noise = np.random.default_rng(0).lognormal(0, 0.3, (12, 2, 3))
    return (noise * [[6.0, 6.0, 6.0], [1.0, 9.0, 1.0]]).reshape(24, 3).tolist()


def test_the_unusual_comes_last_and_kinds_are_in_clusters_of_their_own(tmp_path: Path):
    samples, measured = measured_by([[1e6, 1e-3, 1e6], *two_kinds()], tmp_path)
    labels = SELECTORS["clusters"].start(Pool(samples, measured)).labels
    assert labels[0] == -1 and labels.count(-1) == 1
    assert not set(labels[1::2]) & set(labels[2::2])
    order = taken("clusters", samples, measured)
    assert order[-1] == 0
    count = len(set(labels)) - 1
    assert {labels[i] for i in order[:count]} == set(labels) - {-1}


def test_the_nearest_to_its_centroid_goes_first(tmp_path: Path):
    samples, measured = measured_by(two_kinds(), tmp_path)
    chooser = SELECTORS["clusters"].start(Pool(samples, measured))
    order = taken("clusters", samples, measured)
    for label in set(chooser.labels):
        distances = [chooser.distances[i] for i in order if chooser.labels[i] == label]
        assert distances == sorted(distances)


numbers = st.floats(0.0, 1e4, width=32)


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=60))
def test_counts_of_clusters_differ_by_one_at_most_while_they_last(tmp_path_factory, moments):
    samples, measured = measured_by([list(one) for one in moments], tmp_path_factory.getbasetemp())
    labels = SELECTORS["clusters"].start(Pool(samples, measured)).labels
    order = taken("clusters", samples, measured)
    assert sorted(order) == list(range(len(samples)))
    assert taken("clusters", samples, measured) == order
    usual = [i for i in order if labels[i] != -1]
    assert usual and order[: len(usual)] == usual
    left, counts = Counter(labels[i] for i in usual), Counter[int]()
    for sample in usual:
        counts[labels[sample]] += 1
        left[labels[sample]] -= 1
        most = max(counts.values())
        assert all(counts[label] >= most - 1 for label in left if left[label])


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=8, max_size=40))
def test_the_unusual_are_farther_from_the_medians_than_all_others(tmp_path_factory, moments):
    samples, measured = measured_by([list(one) for one in moments], tmp_path_factory.getbasetemp())
    chooser = SELECTORS["clusters"].start(Pool(samples, measured))
    logs = np.log(np.array(moments) + measured.traces.floor.double().numpy())
    figures = np.stack([logs.mean(1), logs.std(1)], axis=1)
    low, middle, high = np.quantile(figures, (0.25, 0.5, 0.75), axis=0)
    scales = np.where(high - low > 1e-4, high - low, np.nan)
    assume(not np.isnan(scales).any())
    far = np.sqrt(np.square((figures - middle) / scales).mean(1))
    unusual = np.array(chooser.labels) == -1
    low, high = np.quantile(far, (0.25, 0.75))
    reach, blur = 1.5 * (high - low), 1e-2 * (1 + high)
    assert not unusual[(far > low - reach + blur) & (far < high + reach - blur)].any()
    assert unusual[(far < low - reach - blur) | (far > high + reach + blur)].all()
