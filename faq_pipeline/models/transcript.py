"""One exchange with a model as text: its prompt, and its reply up to the end mark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faq_pipeline.config.family import Thinking
from faq_pipeline.models.chat import Message, render, split_thinking

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = "Ibex42"
"""Stands for an answer where only the end mark after it is wanted."""


@dataclass(frozen=True)
class Exchange:
    """`prompt` is all that the model is given, `reply` all that it writes, end mark included."""

    prompt: str
    reply: str

    @property
    def text(self) -> str:
        """Both together."""
        return self.prompt + self.reply


def exchange(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    reply: tuple[str, str, str],
    thinking: Thinking,
) -> Exchange:
    """An exchange in the tokenizer's own template, as the model would meet it at inference.

    The template renders the reply itself where it reproduces it: after its own generation prompt,
    with reasoning and answer verbatim and the thinking marks once. Templates that strip or double
    the reasoning get the generation prompt, the raw continuation and the end mark instead.

    Args:
        messages: what comes before the reply; the last is the user's.
        reply: (raw continuation, reasoning, answer), as `split_thinking` splits it.

    Raises:
        FaqError: the tokenizer has no chat template.
    """
    prompt = render(tokenizer, messages, thinking, generation_prompt=True)
    continuation = _continuation(reply, thinking, prompt)
    _, reasoning, answer = reply
    end = end_mark(tokenizer, messages, thinking)
    for message in assistant_turns(reasoning, answer, thinking):
        rendered = render(tokenizer, [*messages, message], thinking, generation_prompt=False)
        if not rendered.startswith(prompt):
            continue
        written = rendered[len(prompt) :].rstrip().removesuffix(end)
        verbatim = reasoning in written and answer in written
        if verbatim and _squeezed(written) == _squeezed(continuation):
            return Exchange(prompt, written + end)
    return Exchange(prompt, continuation + end)


def as_rendered(tokenizer: PreTrainedTokenizerBase, messages: list[Message], thinking: Thinking) -> str:
    """Messages as the template writes them, up to the last end mark (white space after it left out)."""
    return render(tokenizer, messages, thinking, generation_prompt=False).rstrip()


def end_mark(tokenizer: PreTrainedTokenizerBase, messages: list[Message], thinking: Thinking) -> str:
    """What ends a turn: what the template puts after an answer, else the tokenizer's end token.

    White space after the mark is left out: a model stops at the mark.
    """
    probe = {"role": "assistant", "content": _PROBE}
    rendered = render(tokenizer, [*messages, probe], thinking, generation_prompt=False)
    _, found, after = rendered.rpartition(_PROBE)
    return (after.rstrip() if found else "") or str(tokenizer.eos_token or "")


def assistant_turns(reasoning: str, answer: str, thinking: Thinking) -> list[Message]:
    """The ways in which templates take a reply; the first that is rendered faithfully serves."""
    if not reasoning:
        return [{"role": "assistant", "content": answer}]
    inline = f"{thinking.open}\n{reasoning}\n{thinking.close}\n\n{answer}"
    return [
        {"role": "assistant", "content": answer, "reasoning_content": reasoning},
        {"role": "assistant", "content": inline},
    ]


def _continuation(reply: tuple[str, str, str], thinking: Thinking, prompt: str) -> str:
    """What the model would have written after `prompt`, which may have opened the thinking itself.

    A raw text whose marks are not this family's is written anew from its parts.
    """
    raw, reasoning, answer = reply
    if split_thinking(raw, thinking) != (reasoning, answer):
        raw = f"{thinking.open}\n{reasoning}\n{thinking.close}\n\n{answer}" if reasoning else answer
    opened = prompt.rstrip().endswith(thinking.open)
    starts = raw.lstrip().startswith(thinking.open)
    if opened and starts:
        rest = raw.lstrip().removeprefix(thinking.open)
        return rest.removeprefix("\n") if prompt.endswith("\n") else rest
    if not opened and not starts and thinking.close in raw:
        return thinking.open + ("" if raw.startswith("\n") else "\n") + raw
    return raw


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
