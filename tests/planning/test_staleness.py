"""How a cell stands, and why, in words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faq_pipeline.execution.graph import STAGES
from faq_pipeline.lineage.uses import FOLDER
from faq_pipeline.planning.cell_plan import cell_fingerprint, cell_plan, declared_keys
from faq_pipeline.planning.cell_status import cell_status
from faq_pipeline.planning.staleness import State
from faq_pipeline.store import fingerprint
from tests.site import CONTROL, OTHER_SCHEME, Site, edit_manifest, make_site

RECIPE = "recipes/tiny-faq.yaml"


@pytest.fixture
def site(tmp_path: Path, tiny_data: Path) -> Site:
    return make_site(tmp_path, tiny_data)


def stands(site: Site, member: str = "tiny-s", recipe: str = "tiny-faq") -> tuple[State, str]:
    judged = site.cell_status(member, recipe)
    return judged.state, judged.reason


def test_a_cell_is_missing_then_partial_then_complete(site: Site) -> None:
    assert stands(site) == (State.MISSING, "never made")
    site.make("tiny-s", "tiny-faq", until="regenerated_corpus")
    assert stands(site) == (State.PARTIAL, "never completed, 3 of 8 stages are made")
    assert site.cell_status("tiny-s", "tiny-faq").freshness.stage == "competition_scores"
    site.make("tiny-s", "tiny-faq", until="quantized_checkpoint")
    assert stands(site) == (State.UNEVALUATED, "the checkpoint is made, 6 of 8 stages are made")
    site.make("tiny-s", "tiny-faq", until="reference_eval")
    assert stands(site) == (State.PARTIAL, "never completed, 7 of 8 stages are made")
    site.make("tiny-s", "tiny-faq")
    assert stands(site) == (State.COMPLETE, "")


def test_what_another_cell_made_counts_without_a_run_of_its_own(site: Site) -> None:
    site.recipe(OTHER_SCHEME)
    site.make("tiny-s", "tiny-faq")
    reason = "never made, 6 of 8 stages are made for other cells"
    assert stands(site, recipe="tiny-w8") == (State.MISSING, reason)


def test_without_a_larger_teacher_a_cell_is_impossible(site: Site) -> None:
    state, reason = stands(site, "tiny-l")
    assert state is State.IMPOSSIBLE and "it is the largest" in reason
    assert site.cell_status("tiny-l", "tiny-faq").member.startswith("tiny-l@")


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda data: shutil.rmtree(data / "models/tiny-s"), "has no weights here"),
        (lambda data: (data / RECIPE).write_text("name: tiny-faq\nfamilies: [tiny\n"), "not valid YAML"),
        (lambda data: (data / RECIPE).unlink(), "unknown recipe 'tiny-faq'"),
        (lambda data: (data / "seeds/mixed.jsonl").unlink(), "no such seed file"),
        (lambda data: (data / "eval/tiny_sums.yaml").unlink(), "unknown task 'tiny_sums'"),
        (lambda data: (data / "eval/prose.jsonl").unlink(), "no such file"),
    ],
)
def test_what_cannot_be_made_says_so(site: Site, breaks: Callable[[Path], Any], says: str) -> None:
    site.make("tiny-s", "tiny-faq")
    breaks(site.data)
    state, reason = stands(site)
    assert state is State.IMPOSSIBLE and says in reason and "\n" not in reason


# --- stale, in words ---


def upgrade(name: str, version: str) -> Callable[[Site, pytest.MonkeyPatch], None]:
    def change(site: Site, patch: pytest.MonkeyPatch) -> None:
        true = fingerprint.version
        patch.setattr(fingerprint, "version", lambda n: version if n == name else true(n))
        fingerprint.tool_version.cache_clear()

    return change


def edit(path: str, old: str, new: str) -> Callable[[Site, pytest.MonkeyPatch], None]:
    return lambda site, patch: site.edit(path, old, new)


def raise_version(stage: str) -> Callable[[Site, pytest.MonkeyPatch], None]:
    def change(site: Site, patch: pytest.MonkeyPatch) -> None:
        patch.setitem(STAGES, stage, replace(STAGES[stage], version=STAGES[stage].version + 1))

    return change


def larger_sibling(site: Site, patch: pytest.MonkeyPatch) -> None:
    site.add_member("tiny-xl", of="tiny-l", parameters=10**6)


def passed_through(site: Site, patch: pytest.MonkeyPatch) -> None:
    text = (site.data / RECIPE).read_text()
    (site.data / "recipes/tiny-base.yaml").write_text(text.replace("tiny-faq", "tiny-base"))
    site.recipe(CONTROL.replace("tiny-faq", "tiny-base").replace("tiny-original", "tiny-faq"))


CHANGES: dict[str, tuple[Callable[[Site, pytest.MonkeyPatch], None], str, str]] = {
    "recipe field": (
        edit(RECIPE, "temperature: 1.0", "temperature: 0.8"),
        "regenerated_corpus",
        r"regenerated_corpus: regeneration.sampling.temperature 1.0 -> 0.8",
    ),
    "two fields of two stages": (
        lambda site, patch: [
            site.edit(RECIPE, "candidates: 2", "candidates: 3"),
            site.edit(RECIPE, "W4A16", "W8A16"),
        ],
        "regenerated_corpus",
        r"regenerated_corpus: regeneration.candidates 2 -> 3; quantized_checkpoint: quantization.scheme"
        r" W4A16 -> W8A16",
    ),
    "teacher": (
        larger_sibling,
        "regenerated_corpus",
        r"regenerated_corpus: teacher tiny-l@[0-9a-f]{8} -> tiny-xl@[0-9a-f]{8}",
    ),
    "seed file": (
        edit("seeds/mixed.jsonl", "apples", "pears"),
        "seed_data",
        r"seed_data: seed file mixed.jsonl changed",
    ),
    "number of seeds": (edit(RECIPE, "count: 8", "count: 6"), "seed_data", r"seed_data: seeds.count 8 -> 6"),
    "stage version": (
        raise_version("calibration_set"),
        "calibration_set",
        r"calibration_set: version of the stage 2 -> 3",
    ),
    "tool of one stage": (
        upgrade("llmcompressor", "99.0"),
        "quantized_checkpoint",
        r"quantized_checkpoint: llmcompressor \S+ -> 99.0",
    ),
    "tool of many stages is told once": (
        upgrade("torch", "99.0"),
        "inference_traces",
        r"inference_traces: torch \S+ -> 99.0",
    ),
    "experts": (
        edit(RECIPE, "length: 1.0", "length: 0.5\n    degeneration: 2.0"),
        "competition_scores",
        r"competition_scores: competition.experts.length 1.0 -> 0.5, competition.experts.degeneration"
        r" none -> 2.0",
    ),
    "source": (
        passed_through,
        "regenerated_corpus",
        r"regenerated_corpus: regeneration.source teacher -> original; competition_scores: competition"
        r".experts.length 1.0 -> none, competition.selection experts -> random",
    ),
    "prompt": (
        edit("families/tiny.yaml", "members:", "prompts: {question: 'Say: {{ text }}'}\nmembers:"),
        "regenerated_corpus",
        r"regenerated_corpus: family prompts.question \{\{ text \}\} -> Say: \{\{ text \}\}",
    ),
    "evaluation data": (
        edit("eval/test.jsonl", "What is 1 + 1?", "What is 1 plus 1?"),
        "reference_eval",
        r"reference_eval: evaluation.tasks.tiny_sums changed",
    ),
    "prose": (
        edit("eval/prose.jsonl", "town", "city"),
        "reference_eval",
        r"reference_eval: evaluation.prose changed",
    ),
    "development prompts": (
        edit("eval/development.jsonl", "What is 1 + 1?", "What is 1 plus 1?"),
        "inference_traces",
        r"inference_traces: development prompts of the family changed",
    ),
    "answer length": (
        edit(RECIPE, "  max_new_tokens: 24\n  prose", "  max_new_tokens: 25\n  prose"),
        "inference_traces",
        r"inference_traces: evaluation.max_new_tokens 24 -> 25",
    ),
    "gate": (
        edit(RECIPE, "traces: 4", "traces: 4\n  gate: {recovery: 0.9}"),
        "eval_report",
        r"eval_report: evaluation.gate.recovery none -> 0.9",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_stale_cell_says_what_changed(site: Site, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    site.make("tiny-s", "tiny-faq")
    act, stage, words = CHANGES[change]
    act(site, monkeypatch)
    try:
        judged = site.cell_status("tiny-s", "tiny-faq")
    finally:
        fingerprint.tool_version.cache_clear()
    assert judged.state is State.STALE and judged.freshness.stage == stage
    assert re.fullmatch(words, judged.reason), judged.reason


def test_a_change_taken_back_leaves_the_cell_complete(site: Site) -> None:
    site.make("tiny-s", "tiny-faq")
    site.edit(RECIPE, "temperature: 1.0", "temperature: 0.8")
    assert stands(site)[0] is State.STALE
    site.make("tiny-s", "tiny-faq")
    assert stands(site) == (State.COMPLETE, "")
    site.edit(RECIPE, "temperature: 0.8", "temperature: 1.0")
    assert stands(site) == (State.COMPLETE, "")


def test_what_another_cell_remade_is_stale_here_for_the_same_reason(site: Site) -> None:
    site.recipe(OTHER_SCHEME)
    for recipe in ("tiny-faq", "tiny-w8"):
        site.make("tiny-s", recipe)
    site.edit(RECIPE, "temperature: 1.0", "temperature: 0.8")
    site.make("tiny-s", "tiny-faq")
    state, reason = stands(site, recipe="tiny-w8")
    assert state is State.STALE
    assert reason == "regenerated_corpus: regeneration.sampling.temperature 1.0 -> 0.8"


def test_a_new_revision_is_another_partition_and_missing(site: Site) -> None:
    site.make("tiny-s", "tiny-faq")
    path = site.data / "models/tiny-s/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "more": 1}))
    assert stands(site)[0] is State.MISSING


# --- another draw, another device, artifacts that are gone ---


def test_a_later_draw_makes_no_cell_stale(site: Site) -> None:
    site.make("tiny-s", "tiny-faq", draw=0)
    site.make("tiny-s", "tiny-faq", draw=1)
    assert stands(site) == (State.COMPLETE, "")
    site.edit(RECIPE, "temperature: 1.0", "temperature: 0.8")
    assert stands(site) == (State.STALE, "regenerated_corpus: regeneration.sampling.temperature 1.0 -> 0.8")


def test_a_draw_that_was_never_made_is_not_stale(site: Site) -> None:
    site.make("tiny-s", "tiny-faq", draw=1)
    assert stands(site)[0] is State.MISSING


def test_what_another_device_made_is_complete_until_the_cell_declares_something_else(site: Site) -> None:
    site.make("tiny-s", "tiny-faq", device="cuda")
    assert stands(site) == (State.COMPLETE, "made with another machine (cuda, draw 0)")
    site.edit(RECIPE, "temperature: 1.0", "temperature: 0.8")
    assert stands(site) == (State.STALE, "regenerated_corpus: regeneration.sampling.temperature 1.0 -> 0.8")


def test_a_later_run_elsewhere_does_not_hide_what_was_made_here(site: Site) -> None:
    site.make("tiny-s", "tiny-faq")
    site.make("tiny-s", "tiny-faq", device="cuda")
    assert stands(site) == (State.COMPLETE, "")


def test_an_artifact_that_is_gone_is_named(site: Site) -> None:
    cell = site.make("tiny-s", "tiny-faq")
    shutil.rmtree(site.settings.store.root / "regenerated_corpus")
    state, reason = stands(site)
    assert state is State.STALE
    assert re.fullmatch("regenerated_corpus: artifact [0-9a-f]{8} is gone from the store", reason)
    assert site.cell_status("tiny-s", "tiny-faq").member == cell.target.partition
    shutil.rmtree(site.settings.store.root / "eval_report")
    assert stands(site)[0] is State.PARTIAL


def test_a_corpus_made_again_with_other_bytes_is_told(site: Site) -> None:
    """An engine whose bytes do not repeat: the fingerprint stays, the digest does not."""
    site.make("tiny-s", "tiny-faq")
    (folder,) = (site.settings.store.root / "regenerated_corpus").iterdir()
    edit_manifest(folder / "manifest.json", digest="f" * 20)
    assert stands(site) == (
        State.STALE,
        "competition_scores: regenerated_corpus was made again, with other bytes",
    )


def test_broken_use_files_and_manifests_are_borne(site: Site) -> None:
    cell = site.make("tiny-s", "tiny-faq")
    for path in (site.settings.store.root / FOLDER / cell.partition / "seed_data").iterdir():
        path.write_text("{")
    assert stands(site) == (State.COMPLETE, "")
    for path in (site.settings.store.root / "seed_data").glob("*/manifest.json"):
        path.write_text("{")
    assert stands(site)[0] is State.STALE


# --- keys ---


def test_cells_that_share_a_stage_share_its_key_before_anything_is_made(site: Site) -> None:
    site.recipe(OTHER_SCHEME)
    one, other = (declared_keys(site.cell("tiny-s", name)) for name in ("tiny-faq", "tiny-w8"))
    assert {name for name in STAGES if one[name] != other[name]} == {"quantized_checkpoint", "eval_report"}
    assert cell_fingerprint(site.cell("tiny-s", "tiny-faq")) != cell_fingerprint(
        site.cell("tiny-s", "tiny-w8")
    )


FIELDS = {
    "temperature: 1.0": ["temperature: 0.8", "temperature: 0.2"],
    "candidates: 2": ["candidates: 3"],
    "tokens: 128": ["tokens: 256"],
    "scheme: W4A16": ["scheme: W8A16"],
    "traces: 4": ["traces: 5"],
}
STEPS = st.one_of(
    st.tuples(
        st.just("edit"),
        st.sampled_from([(old, new) for old, news in FIELDS.items() for new in [old, *news]]),
    ),
    st.tuples(st.just("run"), st.sampled_from([*STAGES])),
    st.tuples(st.just("device"), st.sampled_from(["cpu", "cuda"])),
)


@settings(max_examples=15)
@example(
    steps=[
        ("run", "eval_report"),
        ("edit", ("temperature: 1.0", "temperature: 0.8")),
        ("run", "regenerated_corpus"),  # made again, so that what waits comes after it
    ]
)
@given(steps=st.lists(STEPS, min_size=1, max_size=6))
def test_states_agree_with_the_plan(
    steps: list[tuple[str, Any]], tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever was edited and run: complete is what is made, here or on another device."""
    site = make_site(tmp_path_factory.mktemp("steps"), tiny_data)
    base, chosen, device, finished = (site.data / RECIPE).read_text(), {}, "cpu", []
    for kind, value in steps:
        if kind == "edit":
            chosen[value[0]] = value[1]
            text = base
            for old, new in chosen.items():
                text = text.replace(old, new)
            (site.data / RECIPE).write_text(text)
        elif kind == "device":
            device = value
        else:
            site.make("tiny-s", "tiny-faq", until=value, device=device)
            if value == "eval_report":
                finished.append(((site.data / RECIPE).read_text(), device))
    seen = cell_plan(site.settings, "tiny-s", "tiny-faq")
    judged = cell_status(site.settings, "tiny-s", "tiny-faq")
    now = (site.data / RECIPE).read_text()
    elsewhere = any(text == now for text, _ in finished)
    assert (judged.state is State.COMPLETE) == (seen.complete or elsewhere)
    assert (judged.state is State.STALE) == (bool(finished) and not seen.complete and not elsewhere)
    if judged.state is State.STALE:
        assert judged.reason and seen.planned[judged.freshness.stage or ""].artifact is None
    if judged.state in (State.PARTIAL, State.UNEVALUATED, State.MISSING):
        assert not finished and not seen.complete
        assert (judged.state is not State.MISSING) == any(kind == "run" for kind, _ in steps)
