"""The teacher's prompt: the family's prompt for the seed's kind, in the teacher's chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from faq_pipeline.config.family import Family
from faq_pipeline.errors import library_errors
from faq_pipeline.models.chat import Message, render
from faq_pipeline.store.records import Seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_JINJA = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)


def seed_messages(seed: Seed, family: Family) -> list[Message]:
    """The conversation that asks for the seed's regeneration.

    Raises:
        FaqError: the family's prompt is not valid Jinja, or uses more than `{{ text }}`.
    """
    key = f"prompts.{seed.kind}"
    what = f"{key} of family {family.name!r}"
    with library_errors(f"{what} is not valid Jinja", file=None, hint="correct it in the family's YAML"):
        template = _JINJA.from_string(getattr(family.prompts, seed.kind))
    with library_errors(f"{what} cannot be rendered", file=None, hint="a prompt may use {{ text }}"):
        content = template.render(text=seed.text)
    return [{"role": "user", "content": content}]


def seed_prompt(seed: Seed, family: Family, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text that the teacher continues: the conversation and the opening of its reply.

    Raises:
        FaqError: see `seed_messages`; or the teacher has no chat template.
    """
    messages = seed_messages(seed, family)
    return render(tokenizer, messages, family.thinking, generation_prompt=True)
