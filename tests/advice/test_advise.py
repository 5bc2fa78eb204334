"""`faq advise`: calibration data is ranked before anything is quantized."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from faq_pipeline.advice.prediction import PastCell, fit, past_cells
from tests.orchestration.conftest import Run

PROSE = "original-prose-gptq-w3a16"
SMALL = ("--seeds", "16", "--budgets", "768")


def test_random_tokens_and_text_of_another_domain_rank_below_the_targets_own_answers(
    faq: Run, tmp_path: Path
) -> None:
    command = ("advise", "kin-2m", "--sources", f"random,{PROSE},self", *SMALL)
    plan = json.loads(faq("", *command, "--selections", ",", "--dry-run", "--json").out)["plan"]
    assert {row["selection"] for row in plan} == {"draw"}, "as where none is named"
    assert {row["cache"] for row in plan if row["asset"] == "calibration_set"} == {"miss"}
    assert not any((tmp_path / "home").glob("store/calibration_set/*"))

    answer = json.loads(faq("", *command, "--json").out)
    first, *others = answer["candidates"]
    assert answer["choice"] == {"source": "self", "selection": "draw", "budget": 768}
    assert first["source"] == "self" and first["sampled_tokens"] > 0 and first["kl_ratio"]["value"] == 1
    assert {row["source"] for row in others} == {"random", PROSE}
    for row in others:
        assert row["excess"] > first["excess"] and row["fitness"] > first["fitness"]
        assert row["kl_ratio"]["low"] < row["kl_ratio"]["value"] < row["kl_ratio"]["high"]
        assert row["kl_ratio"]["value"] > 1 and row["sampled_tokens"] == 0
    assert not any((tmp_path / "home").glob("store/quantized_checkpoint/*"))

    shown = faq("", *command).out
    assert "choice: source self" in shown and max(map(len, shown.splitlines())) <= 80
    headings = " ".join(line for line in shown.splitlines() if line.startswith("┃")).split()
    assert {"KL", "/", "first", "excess", "to", "sample", "time"} <= set(headings)  # they fold between words
    assert ("not shown to be worse" in shown) == any(row["kl_ratio"]["low"] <= 1 for row in others)
    assert "0 to make" in faq("", *command, "--dry-run").out

    saved = faq("", *command, "--save", "chosen").out
    assert "faq run --member kin-2m --recipe chosen" in " ".join(saved.split())
    plan = json.loads(faq("", "run", "--member", "kin-2m", "--recipe", "chosen", "--dry-run", "--json").out)
    assert {row["asset"] for row in plan["plan"] if row["cache"] == "hit"} >= {"inference_traces"}
    recipe = tmp_path / "home/data/recipes/chosen.yaml"
    text = recipe.read_text()
    assert "source: self\n" in text and "baselines: []\n" in text, "they have more tokens"
    recipe.write_text(recipe.read_text() + "# mine\n")
    edited = faq("", *command, "--save", "chosen")
    assert edited.code == 2 and "was edited" in edited.err and len(edited.err.splitlines()) == 1

    awq = json.loads(faq("", *command, "--recipe", "faq-awq-w4a16", "--json").out)
    assert [row["source"] for row in awq["candidates"]] == [row["source"] for row in answer["candidates"]]
    assert {row["kl_ratio"] for row in awq["candidates"]} == {None} and "awq with W4A16" in awq["notes"][-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sources", "selv"), "unknown source 'selv' (did you mean 'self'?"),
        (("--sources", "self:0"), "source 'self:0': '0' is no number of candidates"),
        (("--selections", "draww"), "unknown selection 'draww'"),
        (("--save", "My model"), "--save 'My model': no name of a recipe"),
        (("--save", PROSE), "there is a recipe of that name"),
        (("--budgets", "2k"), "--budgets '2k': not numbers of tokens"),
        (("--budgets", "100"), "a budget of 100 tokens is less than one sequence"),
        (("--seeds", "0"), "--seeds 0: at least one seed is drawn"),
        (("--recipe", "faq-two"), "unknown recipe 'faq-two'"),
        (("--recipe", "moss-faq-gptq-w3a16"), "is for moss, and 'kin-2m' is of family 'kin'"),
        (("--recipe", "rtn-w3a16"), "quantizes without calibration data"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(faq: Run, arguments: tuple[str, ...], said: str) -> None:
    assert said in faq("", "advise", "kin-2m", *arguments).mistake


def test_the_line_of_past_cells_is_that_of_the_cells_it_is_drawn_through() -> None:
    cells = [
        PastCell(("t", quantizer), str(arm), arm / 10, scale * math.exp(2 * arm / 10 + noise))
        for quantizer, scale in (("w3", 5.0), ("w4", 0.1))
        for arm in range(6)
        for noise in (-0.2, 0.2)
    ]
    line = fit(cells)
    assert line.slope == pytest.approx(2) and line.conditions == 2
    assert line.misfit == line.spread == 0  # arms lie on the line, and conditions have one slope
    assert line.scatter == pytest.approx(0.2 * math.sqrt(2))
    shifted = [replace(cell, kl=cell.kl * (3 if cell.arm in "03" else 1)) for cell in cells]
    other = fit(shifted)
    assert other.misfit > 0.3 and other.scatter == pytest.approx(line.scatter)
    ratio = other.ratio(0.5, 0.1)
    assert ratio.low < ratio.value < ratio.high and other.ratio(0.1, 0.1).value == 1


def test_the_shipped_line_says_that_more_excess_error_means_more_kl() -> None:
    line = fit(past_cells())
    assert line.conditions == 9 and line.slope > 0
    assert line.ratio(0.9, 0.3).value > 1.5  # random tokens against the target's own answers


def test_what_the_family_cannot_make_is_left_out_with_a_note_or_refused_where_it_is_asked_for(
    faq: Run,
) -> None:
    plan = json.loads(faq("", "advise", "kin-8m", "--dry-run", "--json").out)
    assert {row["source"] for row in plan["plan"]} == {"self", "original-templated", "original-raw"}
    assert plan["notes"][0].startswith("no source teacher: no teacher for 'kin-8m'")
    assert "no teacher for 'kin-8m'" in faq("", "advise", "kin-8m", "--sources", "self,teacher").mistake
