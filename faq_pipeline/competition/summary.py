"""Statistics of a competition: winners, and the experts' scores of winners and losers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from faq_pipeline.competition.answers import answers_match
from faq_pipeline.competition.expert import Group, exclusion
from faq_pipeline.competition.group import GroupResult
from faq_pipeline.store.tables import Candidate, Score


def summarise(groups: Sequence[Group], verdicts: Sequence[GroupResult]) -> dict[str, Any]:
    """Figures of one competition; None where there is nothing to take a mean of.

    Accuracies count generated candidates of seeds whose answer is known.
    """
    winners = {v.winner.candidate_id for v in verdicts if v.winner is not None}
    judged = [(g, c) for g in groups for c in g.candidates]
    reasons = Counter(reason for _, c in judged if (reason := exclusion(c)) is not None)
    return {
        "groups": len(groups),
        "candidates": len(judged),
        "winners": len(winners),
        "groups_without_winner": len(groups) - len(winners),
        "ineligible": dict(sorted(reasons.items())),
        "accuracy_of_candidates": _accuracy(judged),
        "accuracy_of_winners": _accuracy([(g, c) for g, c in judged if c.id in winners]),
        "experts": _experts([s for v in verdicts for s in v.scores], winners),
    }


def _accuracy(judged: Iterable[tuple[Group, Candidate]]) -> float | None:
    return _mean(
        float(answers_match(c.answer, group.seed.answer))
        for group, c in judged
        if group.seed.answer is not None and c.finish != "given"
    )


def _experts(scores: Sequence[Score], winners: set[str]) -> dict[str, dict[str, float | None]]:
    out: dict[str, dict[str, float | None]] = {}
    for name in sorted({s.expert for s in scores}):
        own = [s for s in scores if s.expert == name]
        given = [(s.candidate_id in winners, s.raw) for s in own if s.raw is not None]
        out[name] = {
            "mean_of_winners": _mean(raw for won, raw in given if won),
            "mean_of_losers": _mean(raw for won, raw in given if not won),
            "abstentions": len(own) - len(given),
        }
    return out


def _mean(values: Iterable[float]) -> float | None:
    kept = list(values)
    return fmean(kept) if kept else None
