"""Tokenizers as people have them: without marks, or with a template that refuses what it is given."""

from __future__ import annotations

import json

import pytest

from tests.cases.conftest import Lab
from tests.tiny import TEMPLATE


def test_a_tokenizer_without_end_and_padding_runs(lab: Lab) -> None:
    """A member whose tokenizer has neither an end nor a padding token runs to its report."""
    for name, keys in {
        "tokenizer_config.json": ("eos_token", "pad_token"),
        "config.json": ("eos_token_id", "pad_token_id"),
        "generation_config.json": ("eos_token_id", "pad_token_id"),
    }.items():
        path = lab.member / name
        content = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in content.items() if key not in keys}))
    told = lab.run()
    assert told.code == 0 or "tokenizer" in told.refusal, told.said


SYSTEM_FIRST = (
    "{% if messages[0].role != 'system' %}"
    "{{ raise_exception('a system message must come first') }}"
    "{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        pytest.param(SYSTEM_FIRST + TEMPLATE, "a system message must come first", id="raises"),
        pytest.param("{% for message in messages %}", "end of template", id="syntax"),
        pytest.param("{{ house.style }}" + TEMPLATE, "'house' is undefined", id="undefined"),
    ],
)
def test_an_error_of_a_chat_template_is_one_line(lab: Lab, template: str, words: str) -> None:
    """The refusal has the template's own words and its file, before anything is computed."""
    (lab.member / "chat_template.jinja").write_text(template)
    told = lab.run()
    assert told.refusal and not told.began, told.said
    assert words in told.refusal
    assert "chat_template.jinja" in told.refusal
