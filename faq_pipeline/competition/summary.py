"""Statistics of a competition: winners, and the experts' scores of winners and losers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from faq_pipeline.competition.answers import answers_match, is_wrong
from faq_pipeline.competition.expert import Group, exclusion
from faq_pipeline.competition.group import GroupResult
from faq_pipeline.store.records import Candidate, Score


def summarise(groups: Sequence[Group], verdicts: Sequence[GroupResult]) -> dict[str, Any]:
    """Figures of one competition; None where there is nothing to take a mean of.

    Accuracies count generated candidates of seeds whose answer is known. `wrong_alone` counts the groups
    without a winner because their only eligible candidate has a wrong answer; `wrong_winners` the winners
    with a wrong answer, which won over other candidates; `uncontested` the winners that no other
    candidate could have beaten. `notes` are for the user.
    """
    winners = {v.winner.candidate_id for v in verdicts if v.winner is not None}
    judged = [(g, c) for g in groups for c in g.candidates]
    experts = _experts([s for v in verdicts for s in v.scores], winners)
    reasons = Counter(reason for _, c in judged if (reason := exclusion(c)) is not None)
    return {
        "groups": len(groups),
        "candidates": len(judged),
        "winners": len(winners),
        "groups_without_winner": len(groups) - len(winners),
        "wrong_alone": sum(g.wrong_alone for g in groups),
        "wrong_winners": sum(c.id in winners and is_wrong(c, g.seed) for g, c in judged),
        "uncontested": sum(len(g.eligible) == 1 and not g.wrong_alone for g in groups),
        "ineligible": dict(sorted(reasons.items())),
        "accuracy_of_candidates": _accuracy(judged),
        "accuracy_of_winners": _accuracy([(g, c) for g, c in judged if c.id in winners]),
        "experts": experts,
        "notes": [*_lost_seeds(groups, len(winners)), *_silent_experts(groups, experts)],
    }


def _lost_seeds(groups: Sequence[Group], winners: int) -> list[str]:
    """A note on seeds that give no calibration sample.

    It counts the seeds with an answer where most of them are left out for a wrong one: then the set holds
    other data than the recipe seems to ask for.
    """
    wrong, lost = sum(g.wrong_alone for g in groups), len(groups) - winners
    if not lost:
        return []
    reasons = [
        (wrong, "the only usable candidate gives a wrong answer"),
        (lost - wrong, "all candidates are cut, failed, empty or looping"),
    ]
    counted = [(count, why) for count, why in reasons if count]
    answered = sum(g.seed.answer is not None for g in groups)
    if 2 * wrong > answered:
        counted[0] = wrong, f"{counted[0][1]} ({answered} seeds have an answer)"
    parts = [why if len(counted) == 1 else f"of {count} {why}" for count, why in counted]
    return [f"{lost} of {len(groups)} seeds are left out: {', '.join(parts)}"]


def _silent_experts(groups: Sequence[Group], experts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A note on each expert that scored nothing, where there was something to decide."""
    if not any(len(g.eligible) > 1 for g in groups):
        return []
    total = sum(len(g.candidates) for g in groups)
    silent = [name for name, own in experts.items() if own["abstentions"] == total]
    return [f"expert {name!r} scored none of the {total} candidates" for name in silent]


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
