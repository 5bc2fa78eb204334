"""Chat templates: messages to text. Only text crosses between models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.family import Thinking
from faq_pipeline.errors import FaqError, library_errors
from faq_pipeline.models.tokenizer_files import TEMPLATES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]

_HINT = "correct the template"
_PROBES = ("Ibex42", "Lynx43")
"""Texts of a user and an assistant that no template holds."""


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
        FaqError: the tokenizer has no chat template, several and none by default, or it raises.
    """
    file = _check_template(tokenizer)
    kwargs: dict[str, Any] = dict(thinking.template_kwargs)

    def apply(these: list[Message]) -> str:
        with library_errors("the chat template cannot be rendered", file=file, hint=_HINT):
            rendered: Any = tokenizer.apply_chat_template(
                these,
                tokenize=False,
                add_generation_prompt=generation_prompt,
                **kwargs,
            )
        return str(rendered)

    if messages and messages[0]["role"] == "system":
        try:
            return apply(messages)
        except FaqError:
            return apply(_without_system(messages))
    return apply(messages)


def check_renders(tokenizer: PreTrainedTokenizerBase, thinking: Thinking, *, replies: bool) -> None:
    """Refuse a template that cannot render a user's text, or leaves it out.

    Args:
        replies: whether it must render an assistant's turn too, as calibration samples need.

    Raises:
        FaqError: see above.
    """
    turns: list[Message] = [{"role": "user", "content": _PROBES[0]}]
    rendered = [render(tokenizer, turns, thinking, generation_prompt=True)]
    if replies:
        turns.append({"role": "assistant", "content": _PROBES[1]})
        rendered.append(render(tokenizer, turns, thinking, generation_prompt=False))
    whose = dict(zip(_PROBES, ("user", "assistant"), strict=True))
    for turn in turns:
        if turn["content"] not in rendered[-1]:
            raise FaqError(
                f"the chat template leaves out the {whose[turn['content']]}'s text",
                hint="it must write the content of a message that is plain text",
                file=_check_template(tokenizer),
            )


def _check_template(tokenizer: PreTrainedTokenizerBase) -> Path:
    """The file that the template is from, once there is one that applies without a name."""
    folder = Path(tokenizer.name_or_path)
    file = folder / "chat_template.jinja"
    template = tokenizer.chat_template
    if template is None:
        raise FaqError(
            "this member's tokenizer has no chat template",
            hint="use calibration.template: raw, or add chat_template.jinja",
            file=folder,
        )
    if not file.is_file():
        further = folder / TEMPLATES
        file = further if further.is_dir() else folder / "tokenizer_config.json"
    if isinstance(template, dict) and "default" not in template:
        raise FaqError(
            f"no chat template is called 'default': there are {', '.join(map(str, template))}",
            hint="name one so, or add chat_template.jinja",
            file=file,
        )
    return file


def _without_system(messages: list[Message]) -> list[Message]:
    system, user, *rest = messages
    return [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *rest]


def is_thinking(prompt: str, text: str, thinking: Thinking) -> bool:
    """Whether a continuation's reasoning was opened, by the model or by the prompt, but not closed.

    Never where the family has no opening mark: its members reason in their answers.
    """
    if not thinking.open:
        return False
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
