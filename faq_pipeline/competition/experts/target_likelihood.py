"""Likelihood of a candidate under the target: text that the target would write itself scores high."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faq_pipeline.competition.expert import Context, Group, Need
from faq_pipeline.models.transcript import Exchange, exchange
from faq_pipeline.prompting.prompts import seed_messages
from faq_pipeline.store.records import Candidate, Seed


@dataclass(frozen=True)
class TargetLikelihood:
    """Mean log-probability (nats) per token of the reply under the target, in the target's template.

    Abstains where no model wrote the candidate (seeds passed through, random tokens), where the
    reply has no token, and where prompt and reply do not fit the target's context.
    """

    name: str = "target_likelihood"
    needs: tuple[Need, ...] = ("target",)

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """All replies in one go."""
        asked = [(group.seed, c) for group in groups for c in group.candidates]
        scores: list[float | None] = [None] * len(asked)
        items: dict[int, tuple[list[int], list[int]]] = {}
        for index, (seed, candidate) in enumerate(asked):
            if candidate.model is None:
                continue
            text = _exchange(seed, candidate, context)
            prompt, reply = _ids(context, text.prompt), _ids(context, text.reply)
            if prompt and reply and len(prompt) + len(reply) <= context.longest:
                items[index] = (prompt, reply)
        if items:
            context.progress.start("candidates under the target", len(items))
            values = context.mean_logprobs(list(items.values()), context.progress.advance)
            for index, value in zip(items, values, strict=True):
                scores[index] = value
        return scores


def _exchange(seed: Seed, candidate: Candidate, context: Context) -> Exchange:
    family = context.cell.family
    messages = seed_messages(seed, family)
    if context.tokenizer.chat_template is None:
        return Exchange(messages[-1]["content"] + "\n", candidate.text)
    reply = (candidate.text, candidate.reasoning, candidate.answer)
    return exchange(context.tokenizer, messages, reply, family.thinking)


def _ids(context: Context, text: str) -> list[int]:
    return list(context.tokenizer(text, add_special_tokens=False)["input_ids"])
