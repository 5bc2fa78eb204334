"""Architectures that are no plain decoder either run or are refused in one line before any work."""

from __future__ import annotations

from pathlib import Path

from tests.cases.architectures import FAMILIES, save_random, with_context
from tests.cases.conftest import Lab


def test_a_hybrid_model_runs(lab: Lab, tmp_path: Path) -> None:
    """A model with layers of short convolutions and of attention runs to its report."""
    lab.replace_member(save_random(FAMILIES["LFM2"].build, tmp_path / "model"))
    told = lab.run()
    assert told.code == 0, told.said


def test_a_router_does_not_count_as_a_linear_layer(lab: Lab, tmp_path: Path) -> None:
    """A mixture of experts runs with the default `ignore`, or the refusal says what to add to it."""
    lab.replace_member(save_random(FAMILIES["Qwen3-MoE"].build, tmp_path / "model"))
    told = lab.run()
    assert told.ran_or_was_refused_in_time, told.said
    assert told.code == 0 or "ignore" in told.refusal


def test_layers_that_cannot_be_quantized_are_refused_before_the_work(lab: Lab, tmp_path: Path) -> None:
    """GPT-2 runs or is refused in one line before anything is computed."""
    lab.replace_member(save_random(FAMILIES["GPT-2"].build, tmp_path / "model"))
    told = lab.run()
    assert told.ran_or_was_refused_in_time, told.said


def test_the_context_of_a_wrapped_language_model_is_found(lab: Lab, tmp_path: Path) -> None:
    """With 8192 tokens of context in `text_config`, 3000 new tokens are accepted."""
    lab.replace_member(
        save_random(with_context(FAMILIES["Gemma-3 with vision"], 8192).build, tmp_path / "model")
    )
    recipe = lab.root / "recipes/original.yaml"
    text = recipe.read_text()
    assert "max_new_tokens: 8}" in text
    recipe.write_text(text.replace("max_new_tokens: 8}", "max_new_tokens: 3000}"))
    told = lab.plan()
    assert told.code == 0, told.said


def test_a_vision_tower_is_left_out(lab: Lab, tmp_path: Path) -> None:
    """Only the language model is quantized, or the model is refused in one line before the work."""
    lab.replace_member(save_random(FAMILIES["Gemma-3 with vision"].build, tmp_path / "model"))
    told = lab.run()
    assert told.ran_or_was_refused_in_time, told.said


def test_experts_load_back_or_are_refused_by_name(lab: Lab, tmp_path: Path) -> None:
    """Mixtral runs, or is refused before the work with its architecture named."""
    lab.replace_member(save_random(FAMILIES["Mixtral"].build, tmp_path / "model"))
    told = lab.run()
    assert told.ran_or_was_refused_in_time, told.said
    assert told.code == 0 or "mixtral" in told.refusal.lower() or "expert" in told.refusal
