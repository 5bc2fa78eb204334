"""A tiny model, and one that says what it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from faq_pipeline.config.family import Thinking
from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.generation import GenerationRow, Limits
from faq_pipeline.evaluation.harness import Answered, answer_questions
from faq_pipeline.models.loading import load_model, load_tokenizer
from faq_pipeline.util.progress import SilentProgress


@pytest.fixture(scope="module")
def tokenizer(tiny_cell: Cell) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_cell.target)


@pytest.fixture(scope="module")
def model(tiny_cell: Cell) -> PreTrainedModel:
    return load_model(tiny_cell.target, "cpu")


@pytest.fixture
def spec(tiny_cell: Cell) -> Evaluation:
    return tiny_cell.recipe.evaluation


@pytest.fixture
def say(
    monkeypatch: pytest.MonkeyPatch, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Callable[..., list[Answered]]:
    """Evaluate a model that says what it is told to, reply by reply."""

    def run(spec: Evaluation, replies: Sequence[str], thinking: Thinking | None = None) -> list[Answered]:
        def scripted(
            _: Any, rows: Sequence[GenerationRow], limits: Limits, advance: Callable[[int], None]
        ) -> None:
            for row, reply in zip(rows, replies, strict=True):
                row.ids = tokenizer(reply, add_special_tokens=False)["input_ids"]
                row.ended = row.ids[-1] in limits.end_ids or limits.stopped(row)

        monkeypatch.setattr("faq_pipeline.evaluation.recording_lm.continue_rows", scripted)
        return answer_questions(model, tokenizer, spec, thinking or Thinking(), SilentProgress())

    return run
