"""`faq advise`: calibration data is ranked before anything is quantized."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.orchestration.conftest import Run

PROSE = "original-prose-gptq-w3a16"
SMALL = ("--seeds", "16", "--budgets", "768")


def test_random_tokens_and_text_of_another_domain_rank_below_the_targets_own_answers(
    faq: Run, tmp_path: Path
) -> None:
    command = ("advise", "kin-2m", "--sources", f"random,{PROSE},self", *SMALL)
    plan = json.loads(faq("", *command, "--dry-run", "--json").out)["plan"]
    assert {row["cache"] for row in plan if row["asset"] == "calibration_set"} == {"miss"}
    assert not any((tmp_path / "home").glob("store/calibration_set/*"))

    answer = json.loads(faq("", *command, "--json").out)
    first, *others = answer["candidates"]
    assert answer["choice"] == {"source": "self", "selection": "draw", "budget": 768}
    assert first["source"] == "self" and first["sampled_tokens"] > 0
    assert {row["source"] for row in others} == {"random", PROSE}
    assert all(row["fitness"] > first["fitness"] and row["sampled_tokens"] == 0 for row in others)
    assert not any((tmp_path / "home").glob("store/quantized_checkpoint/*"))

    shown = faq("", *command).out
    assert "choice: source self" in shown and max(map(len, shown.splitlines())) <= 80
    assert "0 to make" in faq("", *command, "--dry-run").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sources", "selv"), "unknown source 'selv' (did you mean 'self'?"),
        (("--sources", "self:0"), "source 'self:0': '0' is no number of candidates"),
        (("--selections", "draww"), "unknown selection 'draww'"),
        (("--budgets", "2k"), "--budgets '2k': not numbers of tokens"),
        (("--budgets", "100"), "a budget of 100 tokens is less than one sequence"),
        (("--seeds", "0"), "--seeds 0: at least one seed is drawn"),
        (("--recipe", "faq-two"), "unknown recipe 'faq-two'"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(faq: Run, arguments: tuple[str, ...], said: str) -> None:
    assert said in faq("", "advise", "kin-2m", *arguments).mistake
