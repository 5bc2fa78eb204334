"""Four chat templates of our own making, each with a habit that real ones have."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.tiny import make_tokenizer

_TURNS = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ CONTENT }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
OPENING{% endif -%}
"""

_STRIPPED = "(message.content.split('</think>') | last).lstrip('\\n')"

TEMPLATES = {
    "keeps": _TURNS.replace("CONTENT", "message.content").replace("OPENING", ""),
    "strips": _TURNS.replace("CONTENT", _STRIPPED).replace("OPENING", ""),
    "opens": _TURNS.replace("CONTENT", _STRIPPED).replace("OPENING", "<think>\n"),
    "plain": """\
{%- for message in messages -%}
{%- if message.role == "system" -%}{{ raise_exception("no system role") }}{%- endif -%}
{{ "Q" if message.role == "user" else "A" }}: {{ message.content }}
{% if message.role != "user" %}###
{% endif -%}
{% endfor -%}
{%- if add_generation_prompt -%}A: {% endif -%}
""",
}

PROMPTS = {
    "keeps": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "strips": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "opens": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n",
    "plain": "Q: {}\nA: ",
}
"""What a model is given at inference."""

ENDS = {"keeps": "<|im_end|>", "strips": "<|im_end|>", "opens": "<|im_end|>", "plain": "\n###"}


def tokenizer_with(template: str, folder: Path) -> PreTrainedTokenizerBase:
    make_tokenizer(folder, template=template)
    return AutoTokenizer.from_pretrained(folder)
