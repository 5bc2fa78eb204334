"""What a model card says follows from the recipe and the artifacts, for every shipped recipe."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.family import Family
from faq_pipeline.config.operation import Publish
from faq_pipeline.config.quantization import BitPlan, Compensation
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.core.cell import Cell
from faq_pipeline.publishing.card import Reduction, write_card
from faq_pipeline.publishing.gate import judge_publication
from faq_pipeline.quantization.methods import needs_calibration
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.quantization.serving_format import has_kernel
from faq_pipeline.reporting.data_account import DataFacts
from faq_pipeline.reporting.finished import FinishedCell
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.records import Sample, Seed
from faq_pipeline.store.tables import write_rows
from tests.publishing.test_gate import SAMPLE, SEED, SOUND, made

RECIPES = Catalog((REPOSITORY / "data",)).recipes
FIGURE = {"value": 0.9, "low": 0.8, "high": 0.95}
REPORT = {
    "questions": 256,
    **dict.fromkeys(("reference", "quantized", "recovery", "loss", "kl", "kl_prose"), FIGURE),
}


def metadata(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What the stages tell where nothing went wrong, by stage."""
    seeds, k = recipe.seeds.count, recipe.regeneration.candidates
    tokens = recipe.calibration.tokens
    abstained = {"mean_of_winners": 0.5, "mean_of_losers": None, "abstentions": 0}
    return {
        "seed_data": {"seeds": seeds},
        "inference_traces": {},
        "regenerated_corpus": {"candidates": seeds * k, "bytes_repeat": True},
        "competition_scores": {
            "groups": seeds,
            "candidates": seeds * k,
            "winners": seeds,
            "groups_without_winner": 0,
            "wrong_alone": 0,
            "wrong_winners": 0,
            "uncontested": seeds if k == 1 else 0,
            "accuracy_of_winners": 1.0 if recipe.regeneration.generates else None,
            "experts": dict.fromkeys(recipe.competition.experts, abstained),
        },
        "calibration_set": {"samples": 54, "tokens": tokens, "budget": tokens, "originals": 0},
        "quantized_checkpoint": {"inspection": SOUND, "rtn_fallback": []},
        "reference_eval": {},
        "eval_report": REPORT,
    }


INPUTS = {
    "regenerated_corpus": ("seed_data",),
    "competition_scores": ("seed_data", "regenerated_corpus"),
    "calibration_set": ("seed_data", "regenerated_corpus", "competition_scores", "inference_traces"),
    "eval_report": ("quantized_checkpoint", "reference_eval"),
}


def finished(cell: Cell, recipe: Recipe, folder: Path, **changed: dict[str, Any]) -> FinishedCell:
    """A cell of the tiny family under a recipe, finished, with figures changed by stage."""
    source = recipe.regeneration.source
    teacher = {"teacher": cell.teacher, "self": cell.target}.get(source)
    family = cell.family.model_copy(update={"publish": Publish(licences=["apache-2.0"])})
    cell = replace(cell, family=family, recipe=recipe, teacher=teacher)
    inputs = {**INPUTS}
    if needs_calibration(recipe.quantization):
        inputs["quantized_checkpoint"] = ("calibration_set",)
    artifacts = {}
    for stage, figures in metadata(recipe).items():
        figures = {**figures, **changed.get(stage, {})}
        artifacts[stage] = made(folder / stage, stage, figures, inputs.get(stage, ()))
    identity = {"tools": {"torch": "0"}, "device": "cpu"}
    manifest = artifacts["quantized_checkpoint"].manifest.model_copy(update={"identity": identity})
    artifacts["quantized_checkpoint"].__dict__["manifest"] = manifest
    write_rows(artifacts["seed_data"].file("seeds.parquet"), [SEED], Seed)
    write_rows(artifacts["calibration_set"].file("samples.parquet"), [SAMPLE], Sample)
    return FinishedCell(cell, artifacts)


def card(done: FinishedCell, reduction: Reduction | None = None) -> str:
    """The card without what its recipe says itself: its title and the recipe."""
    # The evaluation data of hub recipes is not here: its search for leaks is not what is tested.
    tiny = done.cell.recipe.evaluation.model_copy(update={"tasks": ["tiny_sums"], "include": TINY()})
    judged = done.cell.with_recipe(done.cell.recipe.model_copy(update={"evaluation": tiny}))
    verdict = judge_publication(FinishedCell(judged, done.artifacts))
    text = write_card(done, verdict, reduction)
    return text.partition("## Recipe")[0].replace(done.cell.recipe.title, "")


TINY: Callable[[], Path | None] = lambda: None  # noqa: E731 - set by the fixture below


@pytest.fixture(autouse=True)
def tiny_evaluation(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "TINY", cache(lambda: tiny_cell.recipe.evaluation.include))


def calibrated(r: Recipe) -> bool:
    return needs_calibration(r.quantization)


def rewritten(r: Recipe) -> bool:
    return calibrated(r) and r.regeneration.generates


def several(r: Recipe) -> bool:
    return rewritten(r) and r.regeneration.candidates > 1


def source(r: Recipe, name: str) -> bool:
    return calibrated(r) and r.regeneration.source == name


CLAIMS: dict[str, Callable[[Recipe], bool]] = {
    r"larger model of the same family, rewrote": lambda r: source(r, "teacher"),
    r"arXiv 2601\.11200": lambda r: source(r, "teacher"),
    r"- family-aware-quantization": lambda r: source(r, "teacher"),
    r"The model itself rewrote the seeds": lambda r: source(r, "self"),
    r"Teacher: the model itself": lambda r: source(r, "self"),
    r"Teacher: tiny-l, digest": lambda r: source(r, "teacher"),
    r"Teacher: none": lambda r: not rewritten(r),
    r"the seeds as they are: no model rewrote": lambda r: source(r, "original"),
    r"random tokens: this checkpoint is a control": lambda r: source(r, "random"),
    r"No calibration data was used": lambda r: not calibrated(r),
    r"(?i)made for each seed, so no candidates competed": lambda r: rewritten(r) and not several(r),
    r"The candidates of a seed competed": lambda r: several(r) and r.competition.selection == "experts",
    r"highest weighted score": lambda r: several(r) and r.competition.selection == "experts",
    r"kept at random: none competed": lambda r: several(r) and r.competition.selection == "random",
    r"\d candidates were made for each seed": several,
    r"candidates, [\d,]+ of them kept": rewritten,
    r"All kept candidates whose seed has a known answer": rewritten,
    r"a calibration set of 54 samples": calibrated,
    r"in the model's chat template": lambda r: (
        calibrated(r) and r.calibration.template == "chat" and r.regeneration.source != "random"
    ),
    r"as plain text": lambda r: (
        calibrated(r) and r.calibration.template == "raw" and r.regeneration.source != "random"
    ),
    r"reasoning of the kept candidates was left out": lambda r: (
        rewritten(r) and r.calibration.reasoning == "drop"
    ),
    r"Selection '": lambda r: calibrated(r) and r.calibration.selection != "draw",
    r"weights and activations quantized": lambda r: SCHEMES.find(r.quantization.scheme).activation_bits < 16,
    r"fallback to round-to-nearest": lambda r: r.quantization.method in ("gptq", "smoothquant"),
    r"vllm serve \.": lambda r: has_kernel(r.quantization, "cuda"),
    r"vLLM has no kernel": lambda r: not has_kernel(r.quantization, "cuda"),
    r"\| competition_scores \|": calibrated,
    r"teacher Apache-2\.0": rewritten,
    # Claimed only where something happened that the figures above do not have.
    r"best candidates?|\bwon\b|\bwinners?\b": lambda r: False,
    r"left out because|give another answer|Scored no candidate|% of the recipe's": lambda r: False,
    r"does not repeat|of these tokens are seeds": lambda r: False,
    r"not met|not computed|not measured|the first \d|loss reduction": lambda r: False,
}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_card_claims_what_its_recipe_does_and_nothing_else(
    name: str, tiny_cell: Cell, tmp_path: Path
) -> None:
    recipe = RECIPES[name]
    gated = {"gate": {"recovery": 0.5}, "limit": None}
    recipe = recipe.model_copy(
        update={"evaluation": recipe.evaluation.model_validate({**recipe.evaluation.model_dump(), **gated})}
    )
    text = card(finished(tiny_cell, recipe, tmp_path))
    wrong = {claim: bool(re.search(claim, text)) for claim in CLAIMS}
    assert wrong == {claim: bool(holds(recipe)) for claim, holds in CLAIMS.items()}, text
    experts = re.search(r"under the scores of experts \(([^)]*)\)", text)
    if experts:
        assert experts[1].split(", ") == sorted(recipe.competition.experts)
    assert "Every criterion is met." in text and "  " not in text.partition("## How to serve it")[0]


FAQ = RECIPES["faq-gptq-w3a16"]
ONE = RECIPES["faq-one-gptq-w3a16"]


def account(done: FinishedCell) -> str:
    facts = DataFacts.of(done)
    assert facts is not None
    return " ".join(facts.sentences())


@pytest.mark.parametrize(
    ("scores", "said", "not_said"),
    [
        (
            {"wrong_alone": 1, "groups_without_winner": 1},
            "1 seed was left out because the only",
            "cut, failed",
        ),
        ({"wrong_alone": 2, "groups_without_winner": 5}, "3 seeds were left out because all", "1 seed"),
        ({"wrong_winners": 3}, "known answer, 3 give another answer", "All kept"),
        ({"accuracy_of_winners": None}, "competed under", "known answer"),
        ({"uncontested": 144}, "more than one usable candidate, so none competed", "under the scores"),
        (
            {"experts": {"answer": {"abstentions": 576}, "length": {"abstentions": 3}}},
            "Scored no candidate: answer.",
            "No expert scored",
        ),
        (
            {"experts": {name: {"abstentions": 576} for name in FAQ.competition.experts}},
            "No expert scored any of them, so the first usable one",
            "competed under",
        ),
    ],
)
def test_a_competition_is_told_as_it_went(
    tiny_cell: Cell, tmp_path: Path, scores: dict[str, Any], said: str, not_said: str
) -> None:
    text = account(finished(tiny_cell, FAQ, tmp_path, competition_scores=scores))
    assert said in text and not_said not in text


def test_artifacts_of_an_earlier_version_tell_less_and_no_more_is_said(
    tiny_cell: Cell, tmp_path: Path
) -> None:
    done = finished(tiny_cell, FAQ, tmp_path)
    new = ("wrong_alone", "wrong_winners", "uncontested")
    scores = done.artifacts["competition_scores"].metadata
    older = {name: value for name, value in scores.items() if name not in new}
    artifacts = {
        **done.artifacts,
        "competition_scores": made(tmp_path / "older", "competition_scores", older),
    }
    text = account(FinishedCell(done.cell, artifacts))
    assert "competed under the scores" in text and "known answer" not in text and "left out" not in text


def test_the_teacher_is_told_as_it_is(tiny_cell: Cell, tmp_path: Path) -> None:
    done = finished(tiny_cell, ONE, tmp_path)
    target, teacher = done.cell.target, done.cell.teacher
    assert teacher is not None

    def told(**changed: Any) -> str:
        return account(FinishedCell(replace(done.cell, **changed), done.artifacts))

    assert told().startswith("tiny-l, a larger model of the same family, rewrote the seeds")
    other: Family = done.cell.family.model_copy(update={"name": "other"})
    abroad = told(teacher_family=other)
    assert abroad.startswith("tiny-l, a model of another family, rewrote") and "2601.11200" not in abroad
    equal = replace(
        teacher, member=teacher.member.model_copy(update={"parameters": target.member.parameters})
    )
    assert told(teacher=equal).startswith("tiny-l, a model of the same family, rewrote")
    assert told(teacher=target).startswith("The model itself rewrote")


def test_what_went_other_than_planned_is_said(tiny_cell: Cell, tmp_path: Path) -> None:
    evaluation = FAQ.evaluation.model_copy(update={"limit": 16, "tasks": ["a", "b"], "gate": None})
    recipe = FAQ.model_copy(update={"evaluation": evaluation})
    short = {"tokens": 4000, "originals": 1000}
    text = card(
        finished(
            tiny_cell,
            recipe,
            tmp_path,
            regenerated_corpus={"bytes_repeat": False},
            calibration_set=short,
            eval_report={"questions": 1, "recovery": None, "kl": None},
        )
    )
    assert "That is 65% of the recipe's 6,144 tokens." in text and "1,000 of these tokens are seeds" in text
    assert "the same 1 question (the first 16 of each task, a, b)" in text
    assert "not computed: the unquantized model answers no question" in text and "ask for no text" in text
    assert "Not met: recovery." in text and "recovery (not met)" in text and "does not repeat" in text


def test_a_card_is_silent_on_a_gate_that_nobody_asked_for(tiny_cell: Cell, tmp_path: Path) -> None:
    """Leaks and soundness are stated all the same."""
    evaluation = FAQ.evaluation.model_copy(update={"gate": None})
    done = finished(tiny_cell, FAQ.model_copy(update={"evaluation": evaluation}), tmp_path)
    private = replace(done.cell, family=done.cell.family.model_copy(update={"publish": None}))
    text, asked = card(FinishedCell(private, done.artifacts)), card(done)
    assert "## Publication gate" in asked and "no gate" in asked
    assert "gate" not in text.lower() and "not met" not in text.lower()
    assert "| contamination | no leaks among" in text and "| soundness | it loads" in text


@pytest.mark.parametrize(
    ("quantization", "checkpoint", "said"),
    [
        ({}, {}, "weights quantized by GPTQ to W3A16."),
        ({"layer_bits": {"re:.*down_proj": 8, "re:.*up_proj": 4}}, {}, "to W3A16, and to 4 or 8 bits where"),
        ({"plan": BitPlan(average_bits=3)}, {"plan_kept": True}, "bits, chosen layer by layer."),
        (
            {"plan": BitPlan(average_bits=3)},
            {"plan_kept": False, "plan_uniform_bits": 3},
            "by GPTQ to 3 bits everywhere, since bits by layer were no better.",
        ),
        ({"compensation": Compensation(rank=8)}, {}, 'PeftModel.from_pretrained(model, "adapter")'),
        ({"compensation": Compensation(kind="outlier_columns", rank=8)}, {}, "do not use them alone."),
        (
            {"compensation": Compensation(rank=8), "scheme": "W4A16"},
            {},
            "vllm serve . --enable-lora --max-lora-rank 8 --lora-modules compensated=adapter",
        ),
    ],
)
def test_the_precision_is_that_of_the_checkpoint(
    tiny_cell: Cell, tmp_path: Path, quantization: dict[str, Any], checkpoint: dict[str, Any], said: str
) -> None:
    recipe = FAQ.model_copy(update={"quantization": FAQ.quantization.model_copy(update=quantization)})
    text = card(finished(tiny_cell, recipe, tmp_path, quantized_checkpoint=checkpoint))
    assert said in text and ("LoRA adapter of rank 8" in text) == ("compensation" in quantization)
    assert ("alone" in text) == (said == "do not use them alone.")
    w3a16 = "plan" not in quantization and "scheme" not in quantization
    assert ("- w3a16" in text) == ("W3A16" in text) == w3a16


@pytest.mark.parametrize("originals", [True, False])
def test_a_loss_reduction_names_what_it_is_measured_against(
    tiny_cell: Cell, tmp_path: Path, originals: bool
) -> None:
    reduction = Reduction(FIGURE, ("raw", "chat"), originals, "inconclusive", "")
    text = card(finished(tiny_cell, FAQ, tmp_path), reduction)
    against = "the original data (raw, chat)" if originals else "raw, chat"
    assert (
        f"| loss reduction against {against} | 0.900 [0.800, 0.950]: inconclusive; the smallest of 2 |"
        in text
    )
