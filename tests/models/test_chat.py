"""Messages to text in a tokenizer's own template, and a continuation back to its parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.config.family import Thinking
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.chat import is_thinking, render, split_thinking
from faq_pipeline.models.loading import load_folder, load_tokenizer

WORDS = st.text("abc 12\n.<>/", max_size=30).filter(
    lambda text: "<think>" not in text and "</think>" not in text
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many?"}]


def test_messages_are_rendered_in_the_members_template(tiny_cell: Cell) -> None:
    tokenizer = load_tokenizer(tiny_cell.target)
    text = render(tokenizer, TURNS, Thinking(), generation_prompt=True)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHow many?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert not render(tokenizer, TURNS, Thinking(), generation_prompt=False).endswith("assistant\n")


def test_a_refused_system_message_goes_before_the_users_text(tiny_cell: Cell) -> None:
    tokenizer = load_tokenizer(tiny_cell.target)
    tokenizer.chat_template = NO_SYSTEM + tokenizer.chat_template
    text = render(tokenizer, TURNS, Thinking(), generation_prompt=False)
    assert text == "<|im_start|>user\nBe brief.\n\nHow many?<|im_end|>\n"


def test_switches_of_the_family_reach_the_template(tiny_cell: Cell) -> None:
    tokenizer = load_tokenizer(tiny_cell.target)
    tokenizer.chat_template += "{% if enable_thinking %}<think>\n{% endif %}"
    thinking = Thinking(template_kwargs={"enable_thinking": True})
    assert render(tokenizer, TURNS, thinking, generation_prompt=True).endswith("<think>\n")


def test_a_member_without_a_template_is_a_mistake(tiny_cell: Cell) -> None:
    tokenizer = load_tokenizer(tiny_cell.target)
    tokenizer.chat_template = None
    with pytest.raises(FaqError, match="no chat template"):
        render(tokenizer, TURNS, Thinking(), generation_prompt=True)


@given(WORDS, WORDS)
def test_reasoning_and_answer_come_apart(reasoning: str, answer: str) -> None:
    parts = (reasoning.strip(), answer.strip())
    thinking = Thinking()
    assert split_thinking(f"<think>\n{reasoning}\n</think>\n\n{answer}", thinking) == parts
    # A template that opens the thinking itself leaves only the closing mark.
    assert split_thinking(f"{reasoning}\n</think>\n\n{answer}", thinking) == parts
    assert split_thinking(answer, thinking) == ("", answer.strip())


def test_a_model_without_thinking_marks_never_thinks() -> None:
    assert not is_thinking("Q: 2 + 2?", "It is 4.", Thinking(open="", close="</think>"))
    assert is_thinking("Q: 2 + 2?", "<think>It is", Thinking())
    assert not is_thinking("Q: 2 + 2?", "<think>It is</think>4", Thinking())


def test_weights_that_do_not_fit_their_config_are_a_mistake(tiny_cell: Cell, tmp_path: Path) -> None:
    import json
    import shutil

    folder = Path(shutil.copytree(tiny_cell.target.folder, tmp_path / "spoilt"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "no-such-type"}))
    with pytest.raises(FaqError, match="weights cannot be loaded") as error:
        load_folder(folder, "cpu")
    assert "\n" not in str(error.value)


def test_reasoning_is_unclosed_only_where_it_has_an_opening_mark() -> None:
    assert is_thinking("Why?", "<think>So", Thinking()) and is_thinking("Why?<think>\n", "So", Thinking())
    assert not is_thinking("Why?", "<think>So</think>4", Thinking()) and not is_thinking("", "4", Thinking())
    assert not is_thinking("Why?", "So it is 4.", Thinking(open="", close="</think>"))
