"""A model as judge: which of two candidates is better, asked in both orders."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from faq_pipeline.competition.expert import Context, Group, Need
from faq_pipeline.competition.rubric import SCHEMA, Preference, ask_which_is_better, rubric_digest
from faq_pipeline.config.recipe import Judge as Settings
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.client.client import Chat, Client
from faq_pipeline.inference.client.server_address import server_addresses
from faq_pipeline.store.records import Candidate
from faq_pipeline.util.seeded_choice import hashed

ALL_PAIRS = 4
"""Groups up to this size are compared each with each; larger ones each with its neighbours in a ring,
so that the number of comparisons grows with the group and not with its square."""
ORDERS = 2
"""Every pair is shown in both orders: judges prefer one place."""
IN_FLIGHT = 256
TIMEOUT = 900.0
REPLY_TOKENS = 2048
"""Most tokens of a verdict, its reasons included."""


@dataclass(frozen=True)
class PairwiseComparison:
    """Two candidates of a group, in the order in which they are shown."""

    group: int
    first: Candidate
    second: Candidate

    @property
    def id(self) -> str:
        return json.dumps([self.group, self.first.position, self.second.position])


@dataclass(frozen=True)
class JudgeExpert:
    """The share of its comparisons that a candidate wins; a tie is half of one.

    A pair counts where both orders gave a verdict; it is won only by the candidate that wins in
    both, else it is a tie. Candidates that cannot win are not compared. Abstains where no pair of
    the candidate counts.
    """

    name: str = "judge"
    needs: tuple[Need, ...] = ("judge",)

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """Ask the judge about all pairs of all groups.

        Raises:
            FaqError: the recipe says nothing of a judge, or it cannot be reached.
        """
        settings = settings_of(context.cell.recipe.competition.judge)
        comparisons = [c for index, group in enumerate(groups) for c in _comparisons(index, group)]
        winners = _ask(settings, groups, comparisons, context) if comparisons else {}
        shares = _shares(comparisons, winners)
        return [shares.get((i, c.position)) for i, group in enumerate(groups) for c in group.candidates]


def judge_identity(settings: Settings | None) -> dict[str, Any]:
    """What shapes the verdicts: the model's served name, what it is asked, and how.

    Raises:
        FaqError: the recipe says nothing of a judge.
    """
    settings = settings_of(settings)
    return {
        "model": settings.endpoint.model,
        "rubric": rubric_digest(settings.rubric),
        "orders": ORDERS,
        "all_pairs": ALL_PAIRS,
        "reply_tokens": REPLY_TOKENS,
    }


def settings_of(settings: Settings | None) -> Settings:
    """The recipe's judge.

    Raises:
        FaqError: there is none.
    """
    if settings is None:
        raise FaqError("expert 'judge' needs the section 'competition.judge'", hint="name its endpoint there")
    return settings


def _comparisons(index: int, group: Group) -> Iterator[PairwiseComparison]:
    for one, other in _pairs(group.eligible):
        yield PairwiseComparison(index, one, other)
        yield PairwiseComparison(index, other, one)


def _pairs(candidates: Sequence[Candidate]) -> Iterable[tuple[Candidate, Candidate]]:
    if len(candidates) <= ALL_PAIRS:
        return combinations(candidates, 2)
    return zip(candidates, [*candidates[1:], candidates[0]], strict=True)


def _ask(
    settings: Settings, groups: Sequence[Group], comparisons: Sequence[PairwiseComparison], context: Context
) -> dict[str, str]:
    """Who won, by comparison: `first`, `second` or `tie`; no entry where there is no valid verdict."""
    context.progress.start("comparisons", len(comparisons))
    winners: dict[str, str] = {}
    endpoint = settings.endpoint
    with Client(server_addresses(endpoint), endpoint.model, most=IN_FLIGHT, timeout=TIMEOUT) as client:
        client.check()
        for reply in client.chat(_chat(groups[c.group], c, settings.rubric) for c in comparisons):
            context.progress.advance()
            try:
                winners[reply.id] = Preference.model_validate_json(reply.content or "").winner
            except ValidationError:
                continue
    lost = len(comparisons) - len(winners)
    if lost:
        context.note(f"the judge gave no valid verdict in {lost:,} of {len(comparisons):,} comparisons")
    return winners


def _chat(group: Group, comparison: PairwiseComparison, rubric: str | None) -> Chat:
    content = ask_which_is_better(rubric, group.seed, comparison.first.text, comparison.second.text)
    seed = hashed("judge", group.seed.id, comparison.first.position, comparison.second.position)
    return Chat(comparison.id, [{"role": "user", "content": content}], SCHEMA, seed, REPLY_TOKENS)


def _shares(
    comparisons: Sequence[PairwiseComparison], winners: dict[str, str]
) -> dict[tuple[int, int], float]:
    """Share of pairs won, by group and position. Comparisons come in twos: a pair in both orders."""
    points: dict[tuple[int, int], list[float]] = defaultdict(list)
    for one, swapped in zip(comparisons[::2], comparisons[1::2], strict=True):
        verdicts = winners.get(one.id), winners.get(swapped.id)
        if None in verdicts:
            continue
        first = 1.0 if verdicts == ("first", "second") else 0.0 if verdicts == ("second", "first") else 0.5
        points[one.group, one.first.position].append(first)
        points[one.group, one.second.position].append(1 - first)
    return {key: sum(own) / len(own) for key, own in points.items()}
