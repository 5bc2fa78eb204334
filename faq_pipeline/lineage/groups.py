"""Candidates joined with their standings and scores, by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from faq_pipeline.core import stage_names
from faq_pipeline.lineage.sql import records, rows
from faq_pipeline.lineage.trace import ExpertScore, JudgedCandidate, TracedGroup, TracedSample
from faq_pipeline.store.tables import Candidate, Sample, Score, Seed, Standing

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def origins(con: DuckDBPyConnection, fingerprint: str) -> dict[str, str]:
    """The parents of an artifact, by stage."""
    rows = con.execute(
        "SELECT parent_stage, parent_fingerprint FROM origins WHERE child_fingerprint = ?",
        [fingerprint],
    )
    return dict(rows.fetchall())


def traced_samples(
    con: DuckDBPyConnection, calibration: str, ids: Collection[str] | None = None
) -> list[TracedSample]:
    """Samples of a calibration set, all or those in `ids`, in the set's order, with their groups."""
    samples = records(
        con,
        Sample,
        'samples WHERE fingerprint = ? AND (? OR id IN (SELECT unnest(?))) ORDER BY "row", "start"',
        calibration,
        ids is None,
        list(ids or []),
    )
    parents = origins(con, calibration)
    groups = load_groups(
        con,
        parents.get(stage_names.REGENERATED_CORPUS),
        parents.get(stage_names.COMPETITION_SCORES),
        parents.get(stage_names.SEED_DATA),
        {sample.seed_id for sample in samples},
    )
    return [_traced(calibration, sample, groups[sample.seed_id]) for sample in samples]


def groups_of_seed(con: DuckDBPyConnection, seed_id: str) -> list[TracedGroup]:
    """The seed's group in each corpus, once for each competition over it; equal corpora count once."""
    pairs = rows(
        con,
        """
        SELECT DISTINCT a.digest, c.fingerprint, sa.fingerprint
        FROM candidates c JOIN artifacts a ON a.fingerprint = c.fingerprint
        LEFT JOIN (origins o JOIN artifacts sa ON sa.fingerprint = o.child_fingerprint
                                              AND sa.stage = 'competition_scores')
               ON o.parent_fingerprint = c.fingerprint
        WHERE c.seed_id = ? ORDER BY sa.fingerprint NULLS LAST, c.fingerprint
        """,
        seed_id,
    )
    groups, seen = [], set()
    for digest, corpus, scores in pairs:
        if scores is None and digest in seen:
            continue
        seen.add(digest)
        seeds = origins(con, corpus).get(stage_names.SEED_DATA)
        groups.append(load_groups(con, corpus, scores, seeds, {seed_id})[seed_id])
    return groups


def load_groups(
    con: DuckDBPyConnection,
    corpus: str | None,
    scores: str | None,
    seeds: str | None,
    seed_ids: Collection[str],
) -> dict[str, TracedGroup]:
    """A group for each of `seed_ids`. What an artifact held that was removed (None) is left empty."""
    ids = list(seed_ids)
    of_group = "WHERE fingerprint = ? AND seed_id IN (SELECT unnest(?))"
    standings = {
        one.candidate_id: one for one in records(con, Standing, f"standings {of_group}", scores, ids)
    }
    verdicts: defaultdict[str, list[ExpertScore]] = defaultdict(list)
    for one in records(con, Score, f"scores {of_group} ORDER BY expert", scores, ids):
        verdicts[one.candidate_id].append(ExpertScore(one.expert, one.raw, one.normalised))
    judged: defaultdict[str, list[JudgedCandidate]] = defaultdict(list)
    for candidate in records(con, Candidate, f'candidates {of_group} ORDER BY "position"', corpus, ids):
        judged[candidate.seed_id].append(
            _candidate(candidate, standings.get(candidate.id), verdicts[candidate.id])
        )
    known = records(con, Seed, "seeds WHERE fingerprint = ? AND id IN (SELECT unnest(?))", seeds, ids)
    by_id = {seed.id: seed for seed in known}
    return {
        id_: TracedGroup(corpus or "", scores, id_, by_id.get(id_), tuple(sorted(judged[id_], key=_place)))
        for id_ in ids
    }


def _candidate(
    candidate: Candidate, standing: Standing | None, verdicts: list[ExpertScore]
) -> JudgedCandidate:
    judged = JudgedCandidate(candidate, None, None, False, tuple(verdicts))
    if standing is None:
        return judged
    return replace(judged, total=standing.total, place=standing.place, winner=standing.winner)


def _place(judged: JudgedCandidate) -> tuple[bool, int, int]:
    """Winners first, then by place; by position where no competition was held."""
    return not judged.winner, judged.place or 0, judged.candidate.position


def _traced(calibration: str, sample: Sample, group: TracedGroup) -> TracedSample:
    winner = next((c for c in group.candidates if c.candidate.id == sample.candidate_id), None)
    losers = tuple(c for c in group.candidates if not c.winner and c is not winner)
    return TracedSample(calibration, sample, group.seed, winner, losers)
