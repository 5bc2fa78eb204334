from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.divergence import (
    Divergence,
    Passage,
    mean_divergence,
    measure,
    store_reference,
)
from faq_pipeline.models.loading import load_model


class Bigram:
    """A model whose logits depend on the last token alone."""

    def __init__(self, table: torch.Tensor) -> None:
        self.table, self.device = table, torch.device("cpu")
        text = SimpleNamespace(vocab_size=table.shape[1])
        self.config = SimpleNamespace(get_text_config=lambda: text)
        self.widest = 0

    def __call__(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        self.widest = max(self.widest, input_ids.numel())
        return SimpleNamespace(logits=self.table[input_ids])


def _tables(vocabulary: int, seed: int, gap: float) -> tuple[Bigram, Bigram]:
    draw = torch.Generator().manual_seed(seed)
    reference = 3 * torch.randn(vocabulary, vocabulary, generator=draw)
    return Bigram(reference), Bigram(reference + gap * torch.randn(vocabulary, vocabulary, generator=draw))


def _exact(reference: Bigram, quantized: Bigram, passage: Passage) -> float:
    rows = torch.tensor(passage.ids[passage.start - 1 : -1])
    p = torch.log_softmax(reference.table[rows].double(), -1)
    q = torch.log_softmax(quantized.table[rows].double(), -1)
    return float((p.exp() * (p - q)).sum())


def _passages(vocabulary: int, seed: int) -> list[Passage]:
    draw = np.random.default_rng(seed)
    lengths = draw.integers(2, 40, size=6)
    return [Passage(draw.integers(0, vocabulary, size=n).tolist(), int(draw.integers(1, n))) for n in lengths]


@given(seed=st.integers(0, 10_000), vocabulary=st.integers(2, 40), gap=st.floats(0, 4), k=st.integers(1, 50))
@settings(max_examples=40)
def test_top_k_with_tail_is_a_lower_bound_and_exact_over_the_whole_vocabulary(
    tmp_path_factory: pytest.TempPathFactory, seed: int, vocabulary: int, gap: float, k: int
) -> None:
    path = tmp_path_factory.mktemp("kl") / "reference.safetensors"
    (reference, quantized), passages = _tables(vocabulary, seed, gap), _passages(vocabulary, seed)
    store_reference(reference, passages, path, k=k)  # type: ignore[arg-type]
    found = measure(quantized, path)  # type: ignore[arg-type]
    assert [part.tokens for part in found] == [len(p.ids) - p.start for p in passages]
    for part, passage in zip(found, passages, strict=True):
        exact = _exact(reference, quantized, passage)
        assert 0 <= part.total <= exact + 1e-4
        if k >= vocabulary:
            assert part.total == pytest.approx(exact, abs=1e-4, rel=1e-4)


def test_more_of_the_distribution_bounds_better(tmp_path: Path) -> None:
    (reference, quantized), passages = _tables(60, 3, 1.0), _passages(60, 3)
    totals = []
    for k in (1, 4, 16, 60):
        store_reference(reference, passages, tmp_path / "r", k=k)  # type: ignore[arg-type]
        totals.append(sum(p.total for p in measure(quantized, tmp_path / "r")))  # type: ignore[arg-type]
    assert totals == sorted(totals)
    assert totals[0] < totals[-1]


def test_a_model_does_not_diverge_from_itself(tiny_cell: Cell, tmp_path: Path) -> None:
    model = load_model(tiny_cell.target, "cpu")
    passages = [Passage(list(range(5, 5 + n)), 2) for n in (9, 30, 4)]
    store_reference(model, passages, tmp_path / "r.safetensors")
    found = mean_divergence(measure(model, tmp_path / "r.safetensors"))
    assert found is not None and found.value < 1e-6
    noisy = load_model(tiny_cell.target, "cpu")
    with torch.no_grad():
        for weight in noisy.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    other = mean_divergence(measure(noisy, tmp_path / "r.safetensors"))
    assert other is not None and other.value > 1e-3


def test_batches_are_bounded_and_do_not_change_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (reference, quantized), passages = _tables(20, 1, 1.0), _passages(20, 1)
    store_reference(reference, passages, tmp_path / "r")  # type: ignore[arg-type]
    together = measure(quantized, tmp_path / "r")  # type: ignore[arg-type]
    monkeypatch.setattr("faq_pipeline.evaluation.divergence.BATCH_TOKENS", 45)
    monkeypatch.setattr("faq_pipeline.evaluation.divergence.CHUNK", 3)
    quantized.widest = 0
    apart = measure(quantized, tmp_path / "r")  # type: ignore[arg-type]
    assert quantized.widest <= 45
    assert [p.total for p in apart] == pytest.approx([p.total for p in together])


def test_passages_with_nothing_to_predict_are_left_out(tmp_path: Path) -> None:
    reference, quantized = _tables(8, 0, 1.0)
    store_reference(reference, [Passage([1], 1), Passage([1, 2], 2)], tmp_path / "r")  # type: ignore[arg-type]
    assert measure(quantized, tmp_path / "r") == []  # type: ignore[arg-type]
    assert mean_divergence([]) is None


def test_the_mean_is_weighted_by_tokens_and_its_interval_by_sequences() -> None:
    found = mean_divergence([Divergence(1.0, 10), Divergence(9.0, 30)])
    assert found is not None
    assert found.value == pytest.approx(0.25)
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.3)


def test_stored_bytes_repeat(tiny_cell: Cell, tmp_path: Path) -> None:
    model = load_model(tiny_cell.target, "cpu")
    for name in ("a", "b"):
        store_reference(model, [Passage([5, 6, 7, 8], 1)], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
