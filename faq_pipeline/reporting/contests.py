"""Winners beside their losers, chosen for a reader."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from faq_pipeline.core import stage_names
from faq_pipeline.reporting.finished import FinishedCell
from faq_pipeline.store.records import Candidate, Sample, Seed, Standing
from faq_pipeline.store.tables import read_rows

SHOWN = 6
LONGEST = 700
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Contest:
    """A seed, the text that won and one that lost (None where none competed), and the seed's own answer.

    `won` and `lost` are weighted scores within the group, None where there is none.
    """

    domain: str
    seed: str
    winner: str
    loser: str | None
    won: float | None
    lost: float | None
    answer: str | None


def contests(finished: FinishedCell) -> list[Contest]:
    """Six samples of the calibration set, of six domains where there are as many.

    Those whose candidates differ most in score come first; where nothing competed, in the set's order.
    """
    assert finished.calibration is not None
    artifacts = finished.artifacts
    seeds = read_rows(artifacts[stage_names.SEED_DATA].file("seeds.parquet"), Seed)
    corpus = read_rows(artifacts[stage_names.REGENERATED_CORPUS].file("candidates.parquet"), Candidate)
    scores = read_rows(artifacts[stage_names.COMPETITION_SCORES].file("standings.parquet"), Standing)
    samples = read_rows(finished.calibration.file("samples.parquet"), Sample)
    by_id, texts = {seed.id: seed for seed in seeds}, {one.id: one for one in corpus}
    groups: defaultdict[str, list[Standing]] = defaultdict(list)
    for standing in scores:
        groups[standing.seed_id].append(standing)
    found = [
        _contest(by_id[sample.seed_id], texts[sample.candidate_id], groups[sample.seed_id], texts)
        for sample in sorted(samples, key=lambda one: (one.row, one.start))
        if sample.candidate_id in texts
    ]
    found.sort(key=lambda one: -_margin(one))
    return _spread(found)


def _contest(
    seed: Seed, winner: Candidate, group: Sequence[Standing], texts: dict[str, Candidate]
) -> Contest:
    totals = {standing.candidate_id: standing.total for standing in group}
    lost = [one for one in group if not one.winner and texts[one.candidate_id].text != winner.text]
    with_text = [one for one in lost if texts[one.candidate_id].text.strip()] or lost
    worst = min(with_text, key=lambda one: one.total if one.total is not None else 0.0, default=None)
    return Contest(
        seed.domain,
        _cut(seed.text),
        _cut(winner.text),
        None if worst is None else _cut(texts[worst.candidate_id].text),
        totals.get(winner.id),
        None if worst is None else worst.total,
        seed.answer,
    )


def _margin(one: Contest) -> float:
    return 0.0 if one.won is None or one.lost is None else one.won - one.lost


def _spread(found: Iterable[Contest]) -> list[Contest]:
    """The first of each domain, then further ones."""
    first: dict[str, Contest] = {}
    further = []
    for one in found:
        if one.domain in first:
            further.append(one)
        else:
            first[one.domain] = one
    return [*first.values(), *further][:SHOWN]


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} …"
