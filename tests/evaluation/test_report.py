"""What the evaluation's text says follows from its figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.recipe import Gate
from faq_pipeline.evaluation.bootstrap import IntervalEstimate
from faq_pipeline.evaluation.figures import reply_notes, report_figures, short_reply_notes
from faq_pipeline.evaluation.report import write_report
from faq_pipeline.store.records import CheckpointRow
from tests.evaluation.answers import answers

CHECKPOINT = CheckpointRow("tiny-s@0", "gptq", "W4A16", "128", 2_000_000, 8_000_000)
KL = IntervalEstimate(0.01, 0.009, 0.011)


def texts(folder: Path, figures: dict[str, Any]) -> list[str]:
    folder.mkdir()
    write_report(folder, json.loads(json.dumps(figures)), CHECKPOINT)
    return [(folder / name).read_text() for name in ("report.md", "report.html")]


def test_it_says_only_what_was_measured(tmp_path: Path) -> None:
    right, wrong = answers([1] * 20), answers([0] * 20)
    cases = {
        "all": report_figures(right, right, KL, KL, Gate(recovery=0.9)),
        "choices": report_figures(right, right, None, KL, None),
        "nothing": report_figures(wrong, wrong, KL, KL, None),
        "one": report_figures(right[:1], right[:1], KL, None, None),
    }
    claims = {
        "is a sign of over-specialisation": {"all", "nothing"},
        "The tasks ask for no text": {"choices"},
        "not computed: the reference answers no question": {"nothing"},
        "on the same 20 questions.": {"all", "choices", "nothing"},
        "on the same 1 question.": {"one"},
        "none in this recipe": {"choices", "nothing", "one"},
        "lower bound": {"all"},
        "on its own traces": set(),
        "KL on tasks, 1e-3": set(cases),
        "KL on prose, 1e-3": set(cases),
        "on the reference's own answers to the tasks": set(cases),
        "on its own replies": set(),
    }
    told = {name: texts(tmp_path / name, figures) for name, figures in cases.items()}
    for claim, where in claims.items():
        for index in (0, 1):
            assert {name for name, pages in told.items() if claim in pages[index]} == where, claim


@pytest.mark.parametrize(("cut", "noted"), [(0, False), (5, False), (6, True)])
def test_replies_that_did_not_end_are_noted_where_they_are_many(cut: int, noted: bool) -> None:
    notes = reply_notes({"quantized": cut}, 100)
    assert len(notes) == noted
    assert not noted or notes[0].startswith("6 of 100 replies of the quantized model were cut")


@pytest.mark.parametrize(("short", "noted"), [(0, False), (1, False), (2, True)])
def test_replies_half_as_long_as_the_reference_are_noted_where_they_are_many(short: int, noted: bool) -> None:
    reference = [replace(one, tokens=100) for one in answers([1] * 20)]
    quantized = [replace(one, tokens=49 if i < short else 50) for i, one in enumerate(reference)]
    notes = short_reply_notes(reference, quantized)
    assert len(notes) == noted
    assert not noted or notes[0].startswith("2 of 20 replies of the quantized model are less than half")
    # Options that are chosen have no length, and a reply that was cut none to compare with.
    choices = [replace(one, task="choice", tokens=0) for one in answers([1] * 500)]
    cut = [replace(one, task="cut", truncated=True) for one in reference]
    brief = [replace(one, task="cut", tokens=1) for one in quantized]
    assert short_reply_notes([*reference, *choices, *cut], [*quantized, *choices, *brief]) == notes
