"""Experts that run candidates through the target: what they say is what a loop by hand says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks import naive
from faq_pipeline.activations.fitness import fitness, mismatches
from faq_pipeline.activations.moments import input_moments
from faq_pipeline.competition.expert import Context, Group
from faq_pipeline.competition.experts import EXPERTS
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.fused_experts import fused_experts
from faq_pipeline.models.precision import WIDENED
from faq_pipeline.quantization.rounding import rounded_copy
from faq_pipeline.store.records import Trace
from tests.cases.architectures import FAMILIES
from tests.competition.groups import make_candidate, make_group
from tests.models.test_sample_moments import one_at_a_time, samples
from tests.noting import Noting

TRACES = tuple(Trace(f"t{i}", "a", ids, 1) for i, ids in enumerate(samples(6)))
BY_ACTIVATIONS = ("activation_fidelity", "outlier_coverage", "sensitivity")


def groups() -> list[Group]:
    texts = ["Answer: 7", "The river town had a harvest. " * 6, "Mira gives 5 away, so 7 remain."]
    long = make_candidate(3, "word " * 2000)
    return [make_group(*(make_candidate(i, t) for i, t in enumerate(texts)), long)] * 2


def placed(context: Context) -> dict[int, list[int]]:
    """Samples of the first group, by place."""
    return {places[0]: list(ids) for ids, places in context.samples(groups()[:1]).items()}


def scores(name: str, cell: Cell, given: list[Group], traces=TRACES) -> list[float | None]:
    context = Context(cell, traces=traces)
    try:
        return EXPERTS[name].score(given, context)
    finally:
        context.close()


@pytest.fixture
def context(tiny_cell: Cell) -> Context:
    return Context(tiny_cell, traces=TRACES)


def test_samples_are_candidates_as_they_would_calibrate(tiny_cell: Cell, context: Context):
    found = context.samples(groups())
    # Each text once, for both groups; the fourth of each is longer than the context.
    assert list(found.values()) == [[0, 4], [1, 5], [2, 6]]
    text = str(context.tokenizer.decode(next(iter(found))))
    assert text.endswith("assistant\nAnswer: 7<|im_end|>") and groups()[0].seed.text in text
    calibration = tiny_cell.recipe.calibration.model_copy(update={"template": "raw"})
    raw = tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"calibration": calibration}))
    assert "<|im_end|>" not in str(context.tokenizer.decode(next(iter(Context(raw).samples(groups())))))


def test_fidelity_is_minus_the_fitness_of_the_candidate_alone(tiny_cell: Cell, context: Context):
    got = scores("activation_fidelity", tiny_cell, groups())
    assert got[3] is None and got[7] is None and got[:3] == got[4:7]
    theirs = input_moments(context.model, [t.input_ids for t in TRACES], lambda done: None)
    for place, ids in placed(context).items():
        own = input_moments(context.model, [ids], lambda done: None)
        assert got[place] == pytest.approx(-fitness(mismatches(own, theirs)), rel=2e-2)


def test_a_candidate_that_is_the_traces_has_no_mismatch(tiny_cell: Cell, context: Context):
    ids = placed(context)[1]
    got = scores("activation_fidelity", tiny_cell, groups()[:1], (Trace("t", "a", ids, 1),))
    assert got[1] == pytest.approx(0, abs=1e-6) and got[0] < -0.01


def test_coverage_counts_outliers_that_are_excited(tiny_cell: Cell, context: Context, monkeypatch):
    monkeypatch.setattr("faq_pipeline.activations.outliers.DEVIATIONS", 0.5)  # random weights have few
    got = scores("outlier_coverage", tiny_cell, groups())
    moments = {place: one_at_a_time(context.model, ids) for place, ids in placed(context).items()}
    total = sum(len(t.input_ids) for t in TRACES)
    per_trace = [(one_at_a_time(context.model, t.input_ids), len(t.input_ids)) for t in TRACES]
    covered, weight = dict.fromkeys(moments, 0.0), 0.0
    for name in moments[0]:
        reference = sum(own[name] * tokens for own, tokens in per_trace) / total
        above = reference.log() - reference.log().median()
        outliers = above > 0.5 * 1.4826 * above.abs().median()
        weight += float(above[outliers].sum())
        for place, own in moments.items():
            covered[place] += float(above[outliers & (own[name] >= reference)].sum())
    for place in moments:
        assert got[place] == pytest.approx(covered[place] / weight, abs=0.05)
    assert 0 < got[0] < 1


def test_sensitivity_is_the_divergence_of_the_rounded_copy(tiny_cell: Cell, context: Context):
    got = scores("sensitivity", tiny_cell, groups())
    assert got[3] is None and got[:3] == got[4:7]
    copy = rounded_copy(context.model, tiny_cell.recipe.quantization)
    for place, ids in placed(context).items():
        with torch.inference_mode():
            p, q = (m(torch.tensor([ids])).logits[0].double().log_softmax(-1) for m in (context.model, copy))
        assert got[place] == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=5e-2)


def test_sensitivity_says_that_a_mixtures_experts_are_not_rounded(tiny_cell: Cell, monkeypatch):
    told = Noting()
    plain = Context(tiny_cell, traces=TRACES, progress=told)
    EXPERTS["sensitivity"].score(groups(), plain)
    assert not told.notes
    experts = fused_experts(FAMILIES["Qwen3-MoE"].build())
    assert experts
    monkeypatch.setattr("faq_pipeline.models.fused_experts.fused_experts", lambda model: experts)
    EXPERTS["sensitivity"].score(groups(), plain)
    plain.close()
    assert plain.notes == ["sensitivity: of a mixture only what is beside its experts is rounded"]


def test_sensitivity_refuses_a_scheme_that_does_not_fit(tiny_cell: Cell):
    spec = tiny_cell.recipe.quantization.model_copy(update={"group_size": 96})
    cell = tiny_cell.with_recipe(tiny_cell.recipe.model_copy(update={"quantization": spec}))
    with pytest.raises(FaqError, match="group_size 96"):
        scores("sensitivity", cell, groups())


@pytest.mark.parametrize("name", BY_ACTIVATIONS)
def test_who_shares_the_batch_does_not_matter(name: str, tiny_cell: Cell):
    (group, _) = groups()
    together = scores(name, tiny_cell, [group])
    alone = [scores(name, tiny_cell, [make_group(c)])[0] for c in group.candidates]
    assert together[3] is None and alone[3] is None
    assert together[:3] == pytest.approx(alone[:3], rel=2e-2, abs=1e-4)


@pytest.mark.parametrize("name", BY_ACTIVATIONS[:2])
def test_without_traces_there_is_nothing_to_compare_with(name: str, tiny_cell: Cell):
    assert scores(name, tiny_cell, groups()[:1], ()) == [None] * 4


@pytest.mark.parametrize("name", BY_ACTIVATIONS)
def test_candidates_that_no_model_wrote_are_judged_too(name: str, tiny_cell: Cell):
    given = make_candidate(0, "Mira has 12 apples.", model=None, source="original", answer="7")
    assert None not in scores(name, tiny_cell, [make_group(given)])


def test_the_target_runs_once_for_all_experts_on_moments(tiny_cell: Cell, monkeypatch):
    from faq_pipeline.competition.moments_expert import score_by_moments

    experts = [EXPERTS[name] for name in BY_ACTIVATIONS[:2]]
    context = Context(tiny_cell, traces=TRACES)
    passes: list[int] = []
    handle = context.model.register_forward_pre_hook(lambda *_: passes.append(1))
    handle2 = context.model.model.register_forward_pre_hook(lambda *_: passes.append(1))
    both = score_by_moments(experts, groups(), context)
    once = len(passes)
    alone = {e.name: e.score(groups(), context) for e in experts}
    handle.remove(), handle2.remove()
    assert both == alone and len(passes) == 3 * once


def test_without_bf16_arithmetic_targets_compute_in_float32(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch):
    for able, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda able=able: able)
        assert Context(tiny_cell).model.dtype == dtype
    large = tiny_cell.target.member.model_copy(update={"parameters": WIDENED})
    cell = replace(tiny_cell, target=replace(tiny_cell.target, member=large))
    assert Context(cell).model.dtype == torch.bfloat16


def test_experts_say_what_a_loop_over_samples_says(tiny_cell: Cell, monkeypatch: pytest.MonkeyPatch):
    """The loops that `benchmarks.experts` is measured against, to one part in 1,000 in float32."""
    monkeypatch.setattr("faq_pipeline.models.precision.has_bf16_arithmetic", lambda: False)
    monkeypatch.setattr("faq_pipeline.activations.outliers.DEVIATIONS", 0.5)
    monkeypatch.setattr(naive, "DEVIATIONS", 0.5)
    context = Context(tiny_cell, traces=TRACES)
    samples = list(context.samples(groups()[:1]))
    traces = [trace.input_ids for trace in TRACES]
    copy = rounded_copy(context.model, tiny_cell.recipe.quantization)
    loops = {
        "activation_fidelity": naive.activation_fidelity(context.model, samples, traces),
        "outlier_coverage": naive.outlier_coverage(context.model, samples, traces),
        "sensitivity": naive.sensitivity(context.model, copy, samples),
        "target_likelihood": naive.target_likelihood(context.model, _items(context)),
    }
    for name, expected in loops.items():
        assert EXPERTS[name].score(groups()[:1], context)[:3] == pytest.approx(expected, rel=1e-3, abs=1e-6)


def _items(context: Context) -> list[tuple[list[int], list[int]]]:
    """Prompts and replies as expert `target_likelihood` hands them to the target."""
    seen: list[tuple[list[int], list[int]]] = []
    recording = replace(context)
    recording.mean_logprobs = lambda items, advance: [seen.append(item) or 0.0 for item in items]
    EXPERTS["target_likelihood"].score(groups()[:1], recording)
    return seen
