"""The teacher is asked in the family's words and its own template."""

from __future__ import annotations

import pytest

from faq_pipeline.config.family import Family, Prompts
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.models.loading import load_tokenizer
from faq_pipeline.prompting.prompts import seed_messages, seed_prompt
from faq_pipeline.store.records import Seed

QUESTION = Seed("q", "One & <one>?", "question", "two", "d", "s", "l")
TEXT = Seed("t", "A river.", "text", None, "d", "s", "l")


def family(cell: Cell, **prompts: str) -> Family:
    return cell.family.model_copy(update={"prompts": Prompts(**prompts)})


def test_each_kind_has_its_prompt(tiny_cell: Cell) -> None:
    asked = family(tiny_cell, question="Solve: {{ text }}", text="Read: {{ text }}")
    assert seed_messages(QUESTION, asked) == [{"role": "user", "content": "Solve: One & <one>?"}]
    assert seed_messages(TEXT, asked) == [{"role": "user", "content": "Read: A river."}]


def test_the_prompt_opens_the_reply_in_the_template(tiny_cell: Cell) -> None:
    tokenizer = load_tokenizer(tiny_cell.target)
    prompt = seed_prompt(TEXT, family(tiny_cell, text="{{ text }}"), tokenizer)
    assert prompt == "<|im_start|>user\nA river.<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("{{ text }", "prompts.question of family 'tiny' is not valid Jinja"),
        ("{{ texts }}", "'texts' is undefined (a prompt may use {{ text }})"),
    ],
)
def test_a_wrong_prompt_is_named(tiny_cell: Cell, prompt: str, said: str) -> None:
    with pytest.raises(FaqError) as caught:
        seed_messages(QUESTION, family(tiny_cell, question=prompt))
    assert said in str(caught.value)
