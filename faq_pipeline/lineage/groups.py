"""Candidates joined with their standings and scores, by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from faq_pipeline.core import stage_names
from faq_pipeline.lineage.sql import AMONG, Record, records_by_artifact, rows
from faq_pipeline.lineage.trace import ExpertScore, JudgedCandidate, TracedGroup, TracedSample
from faq_pipeline.store.records import Candidate, Sample, Score, Seed, Standing

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class GroupKey:
    """A seed's group in a corpus, as one competition judged it.

    What an artifact held that was removed (None) is left empty.
    """

    corpus: str | None
    scores: str | None
    seeds: str | None
    seed_id: str


def origins(con: DuckDBPyConnection, fingerprints: Iterable[str | None]) -> dict[str | None, dict[str, str]]:
    """The parents of artifacts, by artifact and stage; none of None."""
    found: defaultdict[str | None, dict[str, str]] = defaultdict(dict)
    columns = "child_fingerprint, parent_stage, parent_fingerprint"
    sql = f"SELECT {columns} FROM origins WHERE child_fingerprint {AMONG}"
    for child, stage, parent in rows(con, sql, sorted({one for one in fingerprints if one is not None})):
        found[child][stage] = parent
    return found


def traced_samples(
    con: DuckDBPyConnection, wanted: Mapping[str, Collection[str] | None]
) -> list[TracedSample]:
    """Samples of calibration sets with their groups: by set, in the set's order.

    Args:
        wanted: ids of the samples by the set's fingerprint; None for all.
    """
    ids = None if None in wanted.values() else {one for some in wanted.values() for one in some or ()}
    found = records_by_artifact(
        con,
        Sample,
        f'samples WHERE fingerprint {AMONG} AND (? OR id {AMONG}) ORDER BY fingerprint, "row", "start"',
        list(wanted),
        ids is None,
        sorted(ids or ()),
    )
    parents = origins(con, wanted)
    samples = {
        (calibration, sample): GroupKey(
            parents[calibration].get(stage_names.REGENERATED_CORPUS),
            parents[calibration].get(stage_names.COMPETITION_SCORES),
            parents[calibration].get(stage_names.SEED_DATA),
            sample.seed_id,
        )
        for calibration, sample in found
        if (chosen := wanted[calibration]) is None or sample.id in chosen
    }
    groups = load_groups(con, samples.values())
    return [_traced(calibration, sample, groups[key]) for (calibration, sample), key in samples.items()]


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
    parents = origins(con, [corpus for _, corpus, _ in pairs])
    keys, seen = [], set()
    for digest, corpus, scores in pairs:
        if scores is None and digest in seen:
            continue
        seen.add(digest)
        keys.append(GroupKey(corpus, scores, parents[corpus].get(stage_names.SEED_DATA), seed_id))
    groups = load_groups(con, keys)
    return [groups[key] for key in keys]


def load_groups(con: DuckDBPyConnection, keys: Iterable[GroupKey]) -> dict[GroupKey, TracedGroup]:
    """The groups of some keys."""
    keys = list(dict.fromkeys(keys))
    ids = sorted({key.seed_id for key in keys})

    def read(record: type[Record], table: str, artifacts: Iterable[str | None]) -> list[tuple[str, Record]]:
        among = f"WHERE fingerprint {AMONG} AND {'id' if record is Seed else 'seed_id'} {AMONG}"
        names = sorted({one for one in artifacts if one is not None})
        return records_by_artifact(con, record, f"{table} {among}", names, ids)

    scores, corpora = [key.scores for key in keys], [key.corpus for key in keys]
    standings = {(name, one.candidate_id): one for name, one in read(Standing, "standings", scores)}
    verdicts: defaultdict[tuple[str | None, str], list[ExpertScore]] = defaultdict(list)
    for name, one in sorted(read(Score, "scores", scores), key=lambda found: found[1].expert):
        verdicts[name, one.candidate_id].append(ExpertScore(one.expert, one.raw, one.normalised))
    candidates: defaultdict[tuple[str | None, str], list[Candidate]] = defaultdict(list)
    for name, candidate in read(Candidate, "candidates", corpora):
        candidates[name, candidate.seed_id].append(candidate)
    seeds = {(name, seed.id): seed for name, seed in read(Seed, "seeds", [key.seeds for key in keys])}

    def group(key: GroupKey) -> TracedGroup:
        judged = [
            _candidate(one, standings.get((key.scores or "", one.id)), verdicts[key.scores, one.id])
            for one in candidates[key.corpus, key.seed_id]
        ]
        seed = seeds.get((key.seeds or "", key.seed_id))
        return TracedGroup(key.corpus or "", key.scores, key.seed_id, seed, tuple(sorted(judged, key=_place)))

    return {key: group(key) for key in keys}


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
