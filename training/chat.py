"""The chat format: special tokens, the template, and a plain rendering for training text."""

from __future__ import annotations

END_OF_TEXT = "<|endoftext|>"
START = "<|im_start|>"
END = "<|im_end|>"
THINK = "<think>"
THINK_END = "</think>"
TOKENS = (END_OF_TEXT, START, END, THINK, THINK_END)
"""In the order of their ids."""

SYSTEM_PROMPTS = (
    "You are kin, a small and careful reasoner.",
    "Reason step by step, then answer.",
    "You are a helpful assistant.",
)

TEMPLATE = """\
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{%- set text = message.content if message.content is string else '' %}
{%- set reasoning = none %}
{%- if message.reasoning_content is string %}
{%- set reasoning = message.reasoning_content.strip('\\n') %}
{%- elif '</think>' in text %}
{%- set reasoning = text.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set text = text.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>assistant\\n' }}
{%- if reasoning is not none %}
{{- '<think>\\n' + reasoning + '\\n</think>\\n\\n' + text.lstrip('\\n') }}
{%- else %}
{{- text }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- elif message.role in ('system', 'user') %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- else %}
{{- raise_exception('kin knows the roles system, user and assistant, not ' + message.role) }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{%- endif %}
"""


def prompt(user: str, system: str | None = None) -> str:
    """What the model is given: the user's message and the opening of its own."""
    head = f"{START}system\n{system}{END}\n" if system else ""
    return f"{head}{START}user\n{user}{END}\n{START}assistant\n"


def completion(reasoning: str, answer: str) -> str:
    """What the model writes: its reasoning, then the answer."""
    return f"{THINK}\n{reasoning}\n{THINK_END}\n\n{answer}{END}\n"
