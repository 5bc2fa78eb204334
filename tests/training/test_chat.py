"""The tokenizer that all members share, and its chat template."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import chat, documents
from training import tokenizer as training_tokenizer
from training.settings import TOKENIZER
from training.settings import settings as family_settings
from training.tasks import LEVELS, draw, names

_QUESTION = "What is 4 mod 3?"
_text = st.text(st.characters(exclude_categories=["Cs"]))


def _plain(text: str) -> bool:
    """Not written like one of the five marks, which are tokens of their own."""
    return not any(mark in text for mark in chat.TOKENS)


def _render(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, **options)


def test_vocabulary(tokenizer: Any) -> None:
    assert len(tokenizer) == family_settings().vocabulary == 2048
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 4]) == list(chat.TOKENS)
    assert (tokenizer.pad_token, tokenizer.eos_token) == (chat.END_OF_TEXT, chat.END)
    assert tokenizer.padding_side == "left"
    assert tokenizer.chat_template == chat.TEMPLATE


@given(_text.filter(_plain))
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@given(st.integers(0, 10**12), st.sampled_from(("", " ", "\n", "x", "= ")))
@settings(max_examples=100, deadline=None)
def test_every_digit_is_a_token(tokenizer: Any, number: int, before: str) -> None:
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(f"{before}{number}")["input_ids"])
    digits = [token for token in tokens if any(c.isdigit() for c in token)]
    assert [token.removeprefix("Ġ") for token in digits] == list(str(number))


def test_generated_text_comes_back(tokenizer: Any) -> None:
    stream = documents.Documents(family_settings(), Random("round trip"))
    for _ in range(300):
        text = next(stream)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert len(ids) < len(text.encode()) / 1.5


def test_think_marks_survive_and_turn_marks_do_not(tokenizer: Any) -> None:
    text = chat.completion("7 > 5", "Answer: 7")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [ids.count(tokenizer.convert_tokens_to_ids(t)) for t in (chat.THINK, chat.THINK_END)] == [1, 1]
    kept = tokenizer.decode(ids, skip_special_tokens=True)
    assert kept == "<think>\n7 > 5\n</think>\n\nAnswer: 7\n"


def test_the_template_renders_what_was_trained_on(tokenizer: Any) -> None:
    for name in names():
        problem = draw(Random(name), name, LEVELS[-1])
        for thought in problem.thoughts:
            answer = f"Answer: {problem.answer}"
            messages = [
                {"role": "user", "content": problem.question},
                {"role": "assistant", "reasoning_content": thought, "content": answer},
            ]
            rendered = _render(tokenizer, messages)
            assert rendered == chat.prompt(problem.question) + chat.completion(thought, answer)


@given(_text, _text)
@settings(max_examples=200, deadline=None)
def test_reasoning_is_rendered_verbatim(tokenizer: Any, reasoning: str, answer: str) -> None:
    reasoning, answer = reasoning.strip("\n"), answer.lstrip("\n")
    message = {"role": "assistant", "reasoning_content": reasoning, "content": answer}
    assert _render(tokenizer, [message]) == f"{chat.START}assistant\n" + chat.completion(reasoning, answer)


@given(_text.filter(_plain), _text.filter(_plain))
@settings(max_examples=200, deadline=None)
def test_reasoning_within_the_content(tokenizer: Any, reasoning: str, answer: str) -> None:
    reasoning, answer = reasoning.strip("\n"), answer.lstrip("\n")
    message = {"role": "assistant", "content": f"<think>\n{reasoning}\n</think>\n\n{answer}"}
    assert _render(tokenizer, [message]) == f"{chat.START}assistant\n" + chat.completion(reasoning, answer)


def test_an_answer_without_reasoning_stays_bare(tokenizer: Any) -> None:
    message = {"role": "assistant", "content": "Answer: 1"}
    assert _render(tokenizer, [message]) == "<|im_start|>assistant\nAnswer: 1<|im_end|>\n"


@pytest.mark.parametrize("system", [None, *chat.SYSTEM_PROMPTS])
def test_the_generation_prompt(tokenizer: Any, system: str | None) -> None:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": _QUESTION})
    prompt = chat.prompt(_QUESTION, system)
    assert prompt.startswith(f"<|im_start|>system\n{system}<|im_end|>\n" if system else "<|im_start|>user")
    assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert _render(tokenizer, messages, add_generation_prompt=True) == prompt
    thinking = _render(tokenizer, messages, add_generation_prompt=True, enable_thinking=True)
    assert thinking == prompt
    direct = _render(tokenizer, messages, add_generation_prompt=True, enable_thinking=False)
    assert direct == prompt + "<think>\n\n</think>\n\n"
    assert _render(tokenizer, messages, enable_thinking=False) + "<|im_start|>assistant\n" == prompt


def test_direct_training_documents_match_enable_thinking_false(tokenizer: Any) -> None:
    direct = documents.Documents(family_settings(), Random("direct")).draw("direct")
    assert f"{chat.START}assistant\n<think>\n\n</think>\n\nAnswer: " in direct


def test_an_unknown_role_is_refused(tokenizer: Any) -> None:
    with pytest.raises(jinja2.exceptions.TemplateError, match="tool"):
        _render(tokenizer, [{"role": "tool", "content": "x"}])


def test_training_the_tokenizer_is_deterministic(tmp_path: Path) -> None:
    small = replace(family_settings(), tokenizer_documents=400, vocabulary=400)
    one, two = (training_tokenizer.train(small) for _ in range(2))
    assert one.to_str() == two.to_str()
    assert one.get_vocab_size() == 400
    training_tokenizer.save(one, tmp_path)
    saved = training_tokenizer.load(tmp_path)
    text = chat.completion("12 * 3 = 36", "Answer: 36")
    assert saved.get_vocab() == one.get_vocab()
    assert saved.encode(text).tokens == one.encode(text).tokens
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {path.name for path in TOKENIZER.iterdir()}


def test_merges_are_those_of_the_shipped_tokenizer() -> None:
    """The pattern in the code is the pattern in the file: "12" and "a1" fall apart alike."""
    shipped = training_tokenizer.load(TOKENIZER)
    pieces = shipped.pre_tokenizer.pre_tokenize_str("ab 12\n\n(x)!")
    assert [text for text, _ in pieces] == ["ab", "Ġ1", "2", "ĊĊ", "(", "x", ")!"]
    assert all(left[1] == right[0] for left, right in pairwise(span for _, span in pieces))
