"""The result of a trace, as dataclasses that convert to JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from faq_pipeline.store.records import Candidate, CheckpointRow, EvaluationRow, Sample, Seed

TraceKind = Literal["artifact", "seed", "candidate", "sample"]


@dataclass(frozen=True)
class ExpertScore:
    """One expert's score; both figures are None if the expert abstained."""

    expert: str
    raw: float | None
    normalised: float | None


@dataclass(frozen=True)
class JudgedCandidate:
    """A candidate and its place in the group; `place` is None if there was no competition."""

    candidate: Candidate
    total: float | None
    place: int | None
    winner: bool
    scores: tuple[ExpertScore, ...]


@dataclass(frozen=True)
class TracedGroup:
    """One seed's candidates in one corpus, as one competition judged them, best first.

    `seed` is None where its artifact was removed.
    """

    corpus_fingerprint: str
    scores_fingerprint: str | None
    seed_id: str
    seed: Seed | None
    candidates: tuple[JudgedCandidate, ...]


@dataclass(frozen=True)
class TracedSample:
    """A calibration sample with the seed and the group it came from.

    `winner` is None, and `losers` empty, where the corpus was removed.
    """

    calibration_fingerprint: str
    sample: Sample
    seed: Seed | None
    winner: JudgedCandidate | None
    losers: tuple[JudgedCandidate, ...]


@dataclass(frozen=True)
class Licences:
    """Licences behind a checkpoint. `seeds` counts calibration samples by their seed's licence.

    `base` and `teacher` list what the cells that use the checkpoint recorded.
    """

    base: tuple[str, ...]
    teacher: tuple[str, ...]
    seeds: dict[str, int]


@dataclass(frozen=True)
class Report:
    """An evaluation of a checkpoint."""

    fingerprint: str
    figures: tuple[EvaluationRow, ...]


@dataclass(frozen=True)
class MadeCheckpoint:
    """A checkpoint, its calibration set and its evaluations.

    `cells` are the partitions that used it; `teachers` the models that wrote its samples.
    """

    fingerprint: str
    calibration_fingerprint: str | None
    checkpoint: CheckpointRow | None
    cells: tuple[str, ...]
    teachers: tuple[str, ...]
    licences: Licences
    reports: tuple[Report, ...]


@dataclass(frozen=True, order=True)
class Neighbour:
    """A parent or child of an artifact."""

    stage: str
    fingerprint: str


@dataclass(frozen=True)
class ArtifactSummary:
    """An artifact among its neighbours; `created` is UTC."""

    fingerprint: str
    stage: str
    stage_version: int
    digest: str
    created: str
    seconds: float
    cells: tuple[str, ...]
    parents: tuple[Neighbour, ...]
    children: tuple[Neighbour, ...]


@dataclass(frozen=True)
class LineageTrace:
    """The answer to `trace`.

    Attributes:
        id: the full id that was found.
        artifact: where `kind` is `artifact`.
        checkpoints: the checkpoint asked for, or those made from what was asked for.
        samples: of a checkpoint or calibration set all; of a seed, candidate or sample those made
            from it.
        groups: of a seed, candidate or sample: its group in each corpus.
    """

    kind: TraceKind
    id: str
    artifact: ArtifactSummary | None
    checkpoints: tuple[MadeCheckpoint, ...]
    samples: tuple[TracedSample, ...]
    groups: tuple[TracedGroup, ...]

    def as_dict(self) -> dict[str, Any]:
        """As dicts, lists and scalars."""
        return asdict(self)
