from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from faq_pipeline.config.family import Family, Prompts, Thinking
from faq_pipeline.errors import FaqError
from faq_pipeline.models.chat import split_thinking
from faq_pipeline.models.transcript import exchange
from faq_pipeline.prompting.rendering import encode, render_sample
from faq_pipeline.store.records import Candidate, Seed
from tests.calibration.templates import ENDS, PROMPTS, TEMPLATES, tokenizer_with
from tests.tiny import TEMPLATE

QUESTION = Seed("q", "Mira has 12 apples.", "question", "7", "sums", "tests", "MIT")
PASSAGE = Seed("t", "The river town had a harvest.", "text", None, "prose", "tests", "MIT")
WRITTEN = "<think>\nFirst 12 - 5.\n\nSo it is 7.\n</think>\n\nAnswer: 7"
NAMES = sorted(TEMPLATES)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory):
    return {
        name: tokenizer_with(template, tmp_path_factory.mktemp(name))
        for name, template in {**TEMPLATES, "reasons": TEMPLATE}.items()
    }


@pytest.fixture
def family() -> Family:
    return Family.model_validate(
        {
            "name": "own",
            "memory_budget_gib": 1,
            "development": "development.jsonl",
            "prompts": Prompts(text="Reason about:\n{{ text }}").model_dump(),
            "members": [{"name": "m", "path": "m", "parameters": 1}],
        }
    )


def winner(text: str, source: str = "teacher", seed: Seed = QUESTION) -> Candidate:
    reasoning, answer = split_thinking(text, Thinking())
    generated = source in ("teacher", "self")
    return Candidate(
        "c", seed.id, 0, source, "m@0" if generated else None, "", text, reasoning, answer, 9, None, "stop"
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", [WRITTEN, "First 12 - 5.\n\nSo it is 7.\n</think>\n\nAnswer: 7"])
def test_a_winner_reads_as_at_inference_whoever_opened_the_thinking(name, text, tokenizers, family):
    sample = render_sample(QUESTION, winner(text), family, "chat", tokenizers[name])
    prompt = PROMPTS[name].format(QUESTION.text)
    reply = WRITTEN.removeprefix("<think>\n") if name == "opens" else WRITTEN
    assert sample.text == prompt + reply + ENDS[name]
    assert (sample.chat, sample.whole) == (True, True)


@pytest.mark.parametrize("name", NAMES)
def test_a_winner_that_did_not_think_keeps_its_raw_text(name, tokenizers, family):
    sample = render_sample(QUESTION, winner("Answer: 7"), family, "chat", tokenizers[name])
    assert sample.text == PROMPTS[name].format(QUESTION.text) + "Answer: 7" + ENDS[name]


def test_a_template_that_renders_reasoning_itself_decides_the_white_space(tokenizers, family):
    text = "<think>12 - 5 = 7</think>Answer: 7"
    sample = render_sample(QUESTION, winner(text), family, "chat", tokenizers["reasons"])
    expected = "<think>\n12 - 5 = 7\n</think>\n\nAnswer: 7<|im_end|>"
    assert sample.text == PROMPTS["keeps"].format(QUESTION.text) + expected


def test_a_template_that_adds_an_empty_thought_is_not_followed(tmp_path: Path, family):
    adds = TEMPLATE.replace("{% if message.reasoning_content %}", "{% if message.role == 'assistant' %}")
    sample = render_sample(QUESTION, winner("Answer: 7"), family, "chat", tokenizer_with(adds, tmp_path))
    assert sample.text == PROMPTS["keeps"].format(QUESTION.text) + "Answer: 7<|im_end|>"


def test_a_template_that_always_opens_doubles_no_mark(tmp_path: Path, family):
    doubling = TEMPLATES["keeps"].replace(
        "{{ message.content }}", "{{ '<think>\n' if message.role != 'user' }}{{ message.content }}"
    )
    doubling = doubling.replace("assistant\n{% e", "assistant\n<think>\n{% e")
    sample = render_sample(QUESTION, winner(WRITTEN), family, "chat", tokenizer_with(doubling, tmp_path))
    assert sample.text.count("<think>") == sample.text.count("</think>") == 1


def test_marks_of_another_family_become_the_targets(tokenizers, family):
    foreign = replace(winner(WRITTEN), text="[THINK]First 12 - 5.\n\nSo it is 7.[/THINK]Answer: 7")
    sample = render_sample(QUESTION, foreign, family, "chat", tokenizers["strips"])
    assert sample.text == PROMPTS["strips"].format(QUESTION.text) + WRITTEN + "<|im_end|>"


def test_the_familys_prompt_asks_for_a_winner_and_not_for_an_original(tokenizers, family):
    made = render_sample(PASSAGE, winner(WRITTEN, seed=PASSAGE), family, "chat", tokenizers["strips"])
    assert made.text.startswith(f"<|im_start|>user\nReason about:\n{PASSAGE.text}<|im_end|>")
    original = winner(PASSAGE.text, "original", PASSAGE)
    sample = render_sample(PASSAGE, original, family, "chat", tokenizers["strips"])
    assert sample.text == f"<|im_start|>user\n{PASSAGE.text}<|im_end|>"
    assert (sample.chat, sample.whole) == (True, False)


@pytest.mark.parametrize("name", NAMES)
def test_without_its_reasoning_a_winner_is_prompt_and_answer(name, tokenizers, family):
    sample = render_sample(QUESTION, winner(WRITTEN), family, "chat", tokenizers[name], "drop")
    assert (
        sample.text
        == PROMPTS[name].format(QUESTION.text).removesuffix("<think>\n") + "Answer: 7" + ENDS[name]
    )
    assert (sample.chat, sample.whole) == (True, True)
    raw = render_sample(QUESTION, winner(WRITTEN), family, "raw", tokenizers[name], "drop")
    assert raw.text == f"{QUESTION.text}\nAnswer: 7\n\n"


def test_without_its_reasoning_a_winner_answers_the_familys_prompt(tokenizers, family):
    sample = render_sample(
        PASSAGE, winner(WRITTEN, seed=PASSAGE), family, "chat", tokenizers["strips"], "drop"
    )
    prompt = f"<|im_start|>user\nReason about:\n{PASSAGE.text}<|im_end|>"
    assert sample.text.startswith(prompt) and sample.text.endswith("Answer: 7<|im_end|>")
    assert "12 - 5" not in sample.text


@pytest.mark.parametrize("name", NAMES)
def test_an_original_question_is_two_turns_of_the_template(name, tokenizers, family):
    original = winner(QUESTION.text, "original")
    sample = render_sample(QUESTION, original, family, "chat", tokenizers[name])
    assert sample.text == PROMPTS[name].format(QUESTION.text).removesuffix("<think>\n") + "7" + ENDS[name]
    assert sample.whole


@pytest.mark.parametrize(
    ("seed", "source", "text", "expected", "whole"),
    [
        (QUESTION, "original", QUESTION.text, "Mira has 12 apples.\n7\n\n", True),
        (replace(QUESTION, answer=None), "original", QUESTION.text, "Mira has 12 apples.\n\n", False),
        (PASSAGE, "original", PASSAGE.text, "The river town had a harvest.\n\n", False),
        (QUESTION, "self", WRITTEN, "Mira has 12 apples.\nFirst 12 - 5.\n\nSo it is 7.\nAnswer: 7\n\n", True),
        (QUESTION, "random", "x9 of", "x9 of", False),
    ],
)
def test_plain_text(seed, source, text, expected, whole, tokenizers, family):
    sample = render_sample(seed, winner(text, source, seed), family, "raw", tokenizers["keeps"])
    assert (sample.text, sample.chat, sample.whole) == (expected, False, whole)


def test_random_tokens_are_plain_text_under_every_template(tokenizers, family):
    sample = render_sample(QUESTION, winner("x9 of", "random"), family, "chat", tokenizers["keeps"])
    assert (sample.text, sample.chat) == ("x9 of", False)


def test_chat_without_a_template_is_refused(tmp_path: Path, family):
    tokenizer = tokenizer_with(TEMPLATE, tmp_path)
    tokenizer.chat_template = None
    with pytest.raises(FaqError, match="template: raw"):
        render_sample(QUESTION, winner(WRITTEN), family, "chat", tokenizer)
    assert render_sample(QUESTION, winner(WRITTEN), family, "raw", tokenizer).whole


def test_a_system_message_survives_a_template_without_that_role(tokenizers):
    messages = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "12 - 5?"}]
    said = exchange(
        tokenizers["plain"], messages, (WRITTEN, *split_thinking(WRITTEN, Thinking())), Thinking()
    )
    assert said.text == f"Q: Be terse.\n\n12 - 5?\nA: {WRITTEN}\n###"


def test_a_template_without_an_end_mark_gets_the_end_token(tmp_path: Path):
    template = TEMPLATES["plain"].replace("###\n", "")
    tokenizer = tokenizer_with(template, tmp_path)
    said = exchange(tokenizer, [{"role": "user", "content": "12 - 5?"}], ("7", "", "7"), Thinking())
    assert said.text == "Q: 12 - 5?\nA: 7<|im_end|>"


def test_the_first_token_mark_is_neither_doubled_nor_lost(tmp_path: Path, family):
    tokenizer = tokenizer_with("<|endoftext|>" + TEMPLATE, tmp_path)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", tokenizer.pad_token_id)]
    )
    for form, seed, made in (
        ("chat", QUESTION, winner(WRITTEN)),
        ("raw", PASSAGE, winner(PASSAGE.text, "original", PASSAGE)),
    ):
        ids = encode(tokenizer, render_sample(seed, made, family, form, tokenizer))
        assert ids[0] == tokenizer.pad_token_id and ids.count(ids[0]) == 1


def test_the_tokens_are_those_met_at_inference(tokenizers, family):
    tokenizer = tokenizers["opens"]
    ids = encode(tokenizer, render_sample(QUESTION, winner(WRITTEN), family, "chat", tokenizer))
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION.text}], add_generation_prompt=True, tokenize=False
    )
    given = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert ids[: len(given)] == given
    assert ids[-1] == tokenizer.eos_token_id


def test_a_template_that_changes_the_reasoning_is_not_followed(tmp_path: Path, family):
    joining = TEMPLATES["keeps"].replace("message.content", "message.content | replace('\n\n', ' ')")
    sample = render_sample(QUESTION, winner(WRITTEN), family, "chat", tokenizer_with(joining, tmp_path))
    assert sample.text == PROMPTS["keeps"].format(QUESTION.text) + WRITTEN + "<|im_end|>"


def test_a_template_that_opens_without_a_line_break_leaves_it_to_the_reply(tmp_path: Path, family):
    tight = TEMPLATES["opens"].replace("assistant\n<think>\n{% e", "assistant\n<think>{% e")
    sample = render_sample(QUESTION, winner(WRITTEN), family, "chat", tokenizer_with(tight, tmp_path))
    assert sample.text == PROMPTS["keeps"].format(QUESTION.text) + WRITTEN + "<|im_end|>"
