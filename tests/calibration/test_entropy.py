"""Selection `entropy`: every step is the best, and the log-determinant is larger than in other orders."""

from __future__ import annotations

import json
import math
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.activations.trace_moments import trace_moments
from faq_pipeline.calibration.selectors.entropy import DIMENSIONS, log_features
from faq_pipeline.calibration.selectors.protocol import Activations
from faq_pipeline.store.records import Trace
from tests.calibration.test_selectors import Measured, taken

DATA = Path(__file__).parents[2] / "data"


def log_determinant(features: np.ndarray) -> float:
    """ln det(I + the sum of x x^T)."""
    return float(np.linalg.slogdet(np.eye(DIMENSIONS) + features.T @ features)[1])


moments = st.tuples(st.integers(1, 30), *[st.floats(0.0, 9, width=32)] * 4)


@given(st.lists(moments, min_size=1, max_size=9))
def test_each_step_gains_most_log_determinant_per_token(tmp_path_factory, shapes):
    samples = [[i] * n for i, (n, *_) in enumerate(shapes)]
    hand = {i: list(squares) for i, (_, *squares) in enumerate(shapes)}
    measured = Measured([1.0, 2.0, 0.5, 4.0], hand, tmp_path_factory.getbasetemp())
    features = log_features(measured, samples)
    order = taken("entropy", samples, measured)
    assert sorted(order) == list(range(len(samples)))

    def gain(before: list[int], sample: int) -> float:
        grown = log_determinant(features[[*before, sample]]) - log_determinant(features[before])
        return grown / len(samples[sample])

    for step in range(len(order)):
        best = max(gain(order[:step], sample) for sample in order[step:])
        assert gain(order[:step], order[step]) >= best - 1e-7


def test_what_is_like_a_sample_that_was_taken_waits(tmp_path: Path):
    """Two equal samples far from all others: a ranking by distance from the mean would take both first."""
    far, other, plain = [90.0, 1.0, 1.0], [1.0, 20.0, 1.0], [1.0, 1.0, 1.0]
    hand = dict(enumerate([plain, far, far, other, *[plain] * 4]))
    measured = Measured([1.0, 1.0, 1.0], hand, tmp_path)
    features = log_features(measured, [[i] * 10 for i in hand])
    assert np.allclose(features[1], features[2]) and np.linalg.norm(features, axis=1).argmax() == 1
    order = taken("entropy", [[i] * 10 for i in hand], measured)
    assert order[:2] == [1, 3]


def test_samples_that_are_all_alike_are_taken_as_drawn(tmp_path: Path):
    measured = Measured([1.0, 1.0], {i: [0.3, 3.0] for i in range(4)}, tmp_path)
    assert taken("entropy", [[i] * 5 for i in range(4)], measured) == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[int]], Activations]:
    """Seeds of the kin world in kin-2m, as they are."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = DATA / "models/kin-2m"
    lines = (DATA / "seeds/kin-mixed.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[:96]]
    samples = [list(ids) for ids in AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    traces = trace_moments(model, [Trace("t", "a", ids, 1) for ids in samples[:16]], lambda done: None)
    return samples, Activations(model, traces, tmp_path_factory.mktemp("scratch"), lambda done: None)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_log_determinant_exceeds_that_of_draw_and_of_diversity_at_equal_tokens(pool, share: float):
    samples, activations = pool
    features = log_features(activations, samples)
    budget = share * sum(map(len, samples))

    def reached(order: list[int]) -> float:
        spent = accumulate(len(samples[i]) for i in order)
        return log_determinant(
            features[[i for i, tokens in zip(order, spent, strict=True) if tokens <= budget]]
        )

    entropy = reached(taken("entropy", samples, activations))
    assert entropy > reached(list(range(len(samples))))
    assert entropy > reached(taken("diversity", samples, activations))


def test_features_are_centred_with_variance_1(pool):
    samples, activations = pool
    features = log_features(activations, samples)
    assert features.shape == (len(samples), DIMENSIONS)
    assert np.allclose(features.mean(0), 0, atol=1e-9)
    assert math.isclose(np.square(features).mean(), 1, rel_tol=1e-9)
