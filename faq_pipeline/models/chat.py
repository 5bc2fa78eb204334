"""Chat templates: messages to text. Only text crosses between models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faq_pipeline.config.family import Thinking
from faq_pipeline.errors import FaqError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    thinking: Thinking,
    *,
    generation_prompt: bool,
) -> str:
    """Messages in the tokenizer's own template.

    A system message that the template refuses is put in front of the user's text.

    Raises:
        FaqError: the tokenizer has no chat template.
    """
    if tokenizer.chat_template is None:
        raise FaqError(
            "this member's tokenizer has no chat template",
            hint="use calibration.template: raw, or add chat_template.jinja",
            file=tokenizer.name_or_path,
        )
    from jinja2 import TemplateError

    kwargs: dict[str, Any] = dict(thinking.template_kwargs)

    def apply(these: list[Message]) -> str:
        return str(
            tokenizer.apply_chat_template(
                these,
                tokenize=False,
                add_generation_prompt=generation_prompt,
                **kwargs,
            )
        )

    if messages and messages[0]["role"] == "system":
        try:
            return apply(messages)
        except TemplateError:
            return apply(_without_system(messages))
    return apply(messages)


def _without_system(messages: list[Message]) -> list[Message]:
    system, user, *rest = messages
    return [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *rest]


def is_thinking(prompt: str, text: str, thinking: Thinking) -> bool:
    """Whether a continuation's reasoning was opened, by the model or by the prompt, but not closed."""
    opened = thinking.open in text or prompt.rstrip().endswith(thinking.open)
    return opened and thinking.close not in text


def split_thinking(text: str, thinking: Thinking) -> tuple[str, str]:
    """A raw continuation as (reasoning, answer); reasoning is empty where no thinking is closed.

    Templates that open the thinking themselves leave only the closing mark in the text.
    """
    head, mark, tail = text.partition(thinking.close)
    if not mark:
        return "", text.strip()
    return head.replace(thinking.open, "", 1).strip(), tail.strip()
