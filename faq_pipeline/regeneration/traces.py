"""Inference traces: the target's own replies to development prompts, in its own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from faq_pipeline.config.family import Thinking
from faq_pipeline.config.jsonl import read_jsonl
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.engine import Completion, Request
from faq_pipeline.models.chat import render
from faq_pipeline.models.retokenize import written_ids
from faq_pipeline.store.records import Trace
from faq_pipeline.util.seeded_choice import draw_balanced, hashed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RowId = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]


class _Row(BaseModel):
    """One line of a development file; keys of other uses are allowed."""

    model_config = ConfigDict(extra="ignore")

    id: RowId
    question: str | None = None
    text: str | None = None
    domain: str | None = None
    task: str | None = None

    @model_validator(mode="after")
    def _check_text(self) -> _Row:
        if not (self.question or self.text or "").strip():
            raise ValueError("a row needs a 'question' or a 'text' that is not empty")
        return self


@dataclass(frozen=True)
class Development:
    """One development prompt, as its user would type it. `domain` is the row's domain or task."""

    id: str
    text: str
    domain: str
    file: Path
    line: int

    def error(self, problem: str, hint: str) -> FaqError:
        """An error about this prompt, with its place."""
        return FaqError(f"prompt {self.id!r} {problem}", hint=hint, file=self.file, line=self.line)


def load_development(path: Path) -> list[Development]:
    """All prompts of a development file (JSONL).

    Raises:
        FaqError: names file, line and hint: no file, empty file, malformed JSON, missing key, wrong
            type, duplicate id.
    """
    found: dict[str, Development] = {}
    for line, row in read_jsonl(path, _Row):
        domain = row.domain or row.task or "general"
        prompt = Development(row.id, row.question or row.text or "", domain, path, line)
        if row.id in found:
            raise prompt.error(f"is already on line {found[row.id].line}", "ids are unique")
        found[row.id] = prompt
    return list(found.values())


def pick_development(prompts: Sequence[Development], count: int) -> list[Development]:
    """`count` prompts, balanced over domains; always the same ones, whatever a recipe's draw."""
    return draw_balanced(
        prompts, count, draw=0, id_of=lambda each: each.id, domain_of=lambda each: each.domain
    )


def trace_requests(
    prompts: Sequence[Development], tokenizer: PreTrainedTokenizerBase, thinking: Thinking
) -> list[Request]:
    """Each prompt as a user's turn in the target's template, with the opening of the reply."""
    return [
        Request(
            id=prompt.id,
            prompt=render(
                tokenizer,
                [{"role": "user", "content": prompt.text}],
                thinking,
                generation_prompt=True,
            ),
            seed=hashed("trace", prompt.id),
        )
        for prompt in prompts
    ]


def make_trace(
    prompt: Development, request: Request, completion: Completion, tokenizer: PreTrainedTokenizerBase
) -> Trace:
    """A finished sample in the target's tokens, its end mark included if it has one.

    An engine hands text over, so the text is tokenized again.
    """

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    before, written = ids(request.prompt), written_ids(ids, request.prompt, completion.text)
    if completion.finish == "stop" and tokenizer.eos_token_id is not None:
        written.append(int(tokenizer.eos_token_id))
    return Trace(prompt.id, prompt.domain, before + written, len(before))
