"""Figures of a corpus that are worth a note."""

from __future__ import annotations

import pytest

from faq_pipeline.config.family import Thinking
from faq_pipeline.regeneration.figures import corpus_figures, unclosed_notes
from tests.competition.groups import make_candidate


@pytest.mark.parametrize(
    ("prompt", "text", "finish", "unclosed"),
    [
        ("", "<think>12 - 5 = 7</think> Answer: 7", "stop", 0),
        ("", "Answer: 7", "stop", 0),
        ("", "<think>12 - 5 = 7", "stop", 1),
        ("assistant\n<think>\n", "12 - 5 = 7", "stop", 1),  # the template opened it
        ("assistant\n<think>\n", "12 - 5 = 7</think> 7", "stop", 0),
        ("", "<think>12 - 5 =", "length", 0),  # it is cut, and counted as such
    ],
)
def test_reasoning_that_is_never_closed_is_counted(
    prompt: str, text: str, finish: str, unclosed: int
) -> None:
    rows = [make_candidate(0, text, prompt=prompt, finish=finish), make_candidate(1)]
    figures = corpus_figures(rows, Thinking())
    assert figures["unclosed"] == unclosed
    notes = unclosed_notes(figures)
    assert len(notes) == unclosed and all(
        note.startswith("1 of 2 candidates ended in the middle") for note in notes
    )
