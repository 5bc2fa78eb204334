"""Renders a winner as the text of one calibration sample for the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from faq_pipeline.config.family import Family
from faq_pipeline.config.recipe import ORIGINAL, RANDOM
from faq_pipeline.models.chat import Message
from faq_pipeline.models.transcript import as_rendered, exchange
from faq_pipeline.prompting.prompts import seed_messages
from faq_pipeline.store.records import Candidate, Seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

APART = "\n\n"
"""Follows a plain-text sample, so that two in one row do not run into one another."""


@dataclass(frozen=True)
class Rendered:
    """The text of one sample.

    Attributes:
        chat: the text holds all special tokens itself: none may be added when it is tokenised.
        whole: it ends in an answer and must not be cut.
    """

    text: str
    chat: bool
    whole: bool


def render_sample(
    seed: Seed,
    candidate: Candidate,
    family: Family,
    template: Literal["chat", "raw"],
    tokenizer: PreTrainedTokenizerBase,
    reasoning: Literal["keep", "drop"] = "keep",
) -> Rendered:
    """A winner in the form that the recipe asks for.

    | source | `chat` | `raw` |
    |---|---|---|
    | teacher, self | the family's prompt and the reply, as at inference | seed, reasoning, answer |
    | original, question | question and terse answer as two turns | question, answer |
    | original, text | the text as the user's turn | the text |
    | random | the tokens' text | the tokens' text |

    `reasoning` "drop" leaves prompt (or seed) and answer of what a model wrote.

    Raises:
        FaqError: `chat` is asked for and the target has no chat template.
    """
    if candidate.source == RANDOM:
        return Rendered(candidate.text, chat=False, whole=False)
    original = candidate.source == ORIGINAL
    if template == "raw":
        thought = candidate.reasoning if reasoning == "keep" else ""
        reply = [seed.answer] if original else [thought, candidate.answer]
        given = [part for part in reply if part]
        return Rendered("\n".join([seed.text, *given]) + APART, chat=False, whole=bool(given))
    if original:  # its bare text, not the prompt that asks for a regeneration
        return _answered([{"role": "user", "content": seed.text}], seed.answer, family, tokenizer)
    if reasoning == "drop":
        return _answered(seed_messages(seed, family), candidate.answer, family, tokenizer)
    reply_parts = (candidate.text, candidate.reasoning, candidate.answer)
    said = exchange(tokenizer, seed_messages(seed, family), reply_parts, family.thinking)
    return Rendered(said.text, chat=True, whole=True)


def encode(tokenizer: PreTrainedTokenizerBase, rendered: Rendered) -> list[int]:
    """Token ids of a sample, as the target would meet it (plain text with its usual BOS, if any)."""
    encoded = tokenizer(rendered.text, add_special_tokens=not rendered.chat, verbose=False)
    return list(encoded["input_ids"])


def _answered(
    messages: list[Message], answer: str | None, family: Family, tokenizer: PreTrainedTokenizerBase
) -> Rendered:
    """Messages and an answer without reasoning, as the template writes past turns."""
    asked = as_rendered(tokenizer, messages, family.thinking)
    if not answer:
        return Rendered(asked, chat=True, whole=False)
    turn: Message = {"role": "assistant", "content": answer}
    text = as_rendered(tokenizer, [*messages, turn], family.thinking)
    if answer not in text.removeprefix(asked):
        text = exchange(tokenizer, messages, (answer, "", answer), family.thinking).text
    return Rendered(text, chat=True, whole=True)
