"""The tokenizers that the members of a family share, and their chat templates."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import jinja2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training import documents
from training import tokenizer as training_tokenizer
from training.settings import Settings
from training.settings import settings as family_settings
from training.tasks import LEVELS, draw

_QUESTION = "What is 4 mod 3?"
_MARKS = [token for name in ("kin", "moss") for token in family_settings(name).chat.tokens]
_text = st.text(st.characters(exclude_categories=["Cs"]))
_plain = _text.filter(lambda text: not any(mark in text for mark in _MARKS))
"""Not written like one of the marks, which are tokens of their own."""

many = settings(max_examples=150, suppress_health_check=[HealthCheck.differing_executors])


def _render(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, **options)


def test_vocabulary(family: Settings, tokenizer: Any) -> None:
    chat = family.chat
    assert len(tokenizer) == family.vocabulary == {"kin": 2048, "moss": 1536}[family.name]
    assert tokenizer.convert_ids_to_tokens(list(range(len(chat.tokens)))) == list(chat.tokens)
    assert (tokenizer.pad_token, tokenizer.eos_token) == (chat.end_of_text, chat.end)
    assert tokenizer.bos_token == (chat.begin or None)
    assert tokenizer.padding_side == "left"
    assert tokenizer.chat_template == chat.template


def test_the_families_have_no_mark_in_common() -> None:
    assert len(set(_MARKS)) == len(_MARKS)


def test_plain_text_begins_as_in_training(family: Settings, tokenizer: Any) -> None:
    """What the pipeline tokenizes as plain text starts as every document did."""
    begin = [family.chat.id_of(family.chat.begin)] if family.chat.begin else []
    bare = tokenizer("A text.", add_special_tokens=False)["input_ids"]
    assert tokenizer("A text.")["input_ids"] == begin + bare


@given(text=_plain)
@many
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@given(number=st.integers(0, 10**12), before=st.sampled_from(("", " ", "\n", "x", "= ")))
@many
def test_every_digit_is_a_token(tokenizer: Any, number: int, before: str) -> None:
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(f"{before}{number}")["input_ids"])
    digits = [token for token in tokens if any(c.isdigit() for c in token)]
    assert [token.removeprefix("Ġ") for token in digits] == list(str(number))


def test_generated_text_comes_back(family: Settings, tokenizer: Any) -> None:
    stream = documents.Documents(family, family.mix, Random("round trip"))
    for _ in range(300):
        text = next(stream)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert len(ids) < len(text.encode()) / 1.5


def test_thinking_marks_survive_and_turn_marks_do_not(family: Settings, tokenizer: Any) -> None:
    chat = family.chat
    text = chat.completion("7 > 5", "Answer: 7")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [ids.count(tokenizer.convert_tokens_to_ids(t)) for t in (chat.think, chat.think_end)] == [1, 1]
    kept = tokenizer.decode(ids, skip_special_tokens=True)
    assert kept == f"{chat.think}\n7 > 5\n{chat.think_end}\n\nAnswer: 7{chat.after}"


def test_the_template_renders_what_was_trained_on(family: Settings, tokenizer: Any) -> None:
    for name in family.tasks:
        problem = draw(Random(name), name, LEVELS[-1])
        for thought in problem.thoughts:
            answer = f"Answer: {problem.answer}"
            messages = [
                {"role": "user", "content": problem.question},
                {"role": "assistant", "reasoning_content": thought, "content": answer},
            ]
            rendered = _render(tokenizer, messages)
            assert rendered == family.chat.prompt(problem.question) + family.chat.completion(thought, answer)


@given(reasoning=_text, answer=_text)
@many
def test_reasoning_is_rendered_verbatim(
    family: Settings, tokenizer: Any, reasoning: str, answer: str
) -> None:
    reasoning, answer = reasoning.strip("\n"), answer.lstrip("\n")
    message = {"role": "assistant", "reasoning_content": reasoning, "content": answer}
    opening = family.chat.begin + family.chat.open("assistant")
    assert _render(tokenizer, [message]) == opening + family.chat.completion(reasoning, answer)


@given(reasoning=_plain, answer=_plain)
@many
def test_reasoning_within_the_content(family: Settings, tokenizer: Any, reasoning: str, answer: str) -> None:
    chat = family.chat
    reasoning, answer = reasoning.strip("\n"), answer.lstrip("\n")
    content = f"{chat.think}\n{reasoning}\n{chat.think_end}\n\n{answer}"
    rendered = _render(tokenizer, [{"role": "assistant", "content": content}])
    assert rendered == chat.begin + chat.open("assistant") + chat.completion(reasoning, answer)


def test_an_answer_without_reasoning_stays_bare(family: Settings, tokenizer: Any) -> None:
    chat = family.chat
    rendered = _render(tokenizer, [{"role": "assistant", "content": "Answer: 1"}])
    assert rendered == f"{chat.begin}{chat.open('assistant')}Answer: 1{chat.end}{chat.after}"


@pytest.mark.parametrize("spoken", [False, True])
def test_the_generation_prompt(family: Settings, tokenizer: Any, spoken: bool) -> None:
    """Without the switch the model decides; off gives it empty thoughts; on opens them in moss only."""
    chat = family.chat
    for system in chat.system_prompts if spoken else (None,):
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": _QUESTION})
        prompt = chat.prompt(_QUESTION, system)
        assert prompt.startswith(chat.begin + chat.open("system" if system else "user"))
        assert _render(tokenizer, messages, add_generation_prompt=True) == prompt
        switched = [
            _render(tokenizer, messages, add_generation_prompt=True, **{chat.switch: on})
            for on in (True, False)
        ]
        opened = {"kin": "", "moss": f"{chat.think}\n"}[family.name]
        assert switched == [prompt + opened, prompt + f"{chat.think}\n\n{chat.think_end}\n\n"]
        assert _render(tokenizer, messages, **{chat.switch: False}) + chat.open("assistant") == prompt


def test_what_the_template_opens_is_tokenized_as_in_training(family: Settings, tokenizer: Any) -> None:
    """A prompt that ends inside the reply must end where a token of the training text ended."""
    messages = [{"role": "user", "content": _QUESTION}]
    whole = family.chat.prompt(_QUESTION) + family.chat.completion("4 - 3 = 1", "Answer: 1")
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    prompt = _render(tokenizer, messages, add_generation_prompt=True, **{family.chat.switch: True})
    begun = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert ids[: len(begun)] == begun


def test_direct_training_documents_match_the_switch_turned_off(family: Settings) -> None:
    chat = family.chat
    direct = documents.Documents(family, family.mix, Random("direct")).draw("direct")
    assert f"{chat.open('assistant')}{chat.think}\n\n{chat.think_end}\n\nAnswer: " in direct


def test_an_unknown_role_is_refused(tokenizer: Any) -> None:
    with pytest.raises(jinja2.exceptions.TemplateError, match="tool"):
        _render(tokenizer, [{"role": "tool", "content": "x"}])


def test_training_the_tokenizer_is_deterministic(family: Settings, tmp_path: Path) -> None:
    small = replace(family, tokenizer_documents=400, vocabulary=400)
    one, two = (training_tokenizer.train(small) for _ in range(2))
    assert one.to_str() == two.to_str()
    assert one.get_vocab_size() == 400
    training_tokenizer.save(one, small, tmp_path)
    saved = training_tokenizer.load(tmp_path)
    text = family.chat.completion("12 * 3 = 36", "Answer: 36")
    assert saved.get_vocab() == one.get_vocab()
    assert saved.encode(text).tokens == one.encode(text).tokens
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {path.name for path in family.tokenizer.iterdir()}


def test_words_fall_apart_as_the_code_says(family: Settings) -> None:
    """The pattern in the code is the pattern in the file: "12" and "a1" fall apart alike."""
    shipped = training_tokenizer.load(family.tokenizer)
    pieces = shipped.pre_tokenizer.pre_tokenize_str("ab 12\n\n(x)!")
    assert [text for text, _ in pieces] == ["ab", "Ġ1", "2", "ĊĊ", "(", "x", ")!"]
    assert all(left[1] == right[0] for left, right in pairwise(span for _, span in pieces))
