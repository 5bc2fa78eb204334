"""Read the scores of a study's cells from the store, by draw and question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faq_pipeline.core import stage_names
from faq_pipeline.errors import FaqError, library_errors
from faq_pipeline.evaluation.bootstrap import Array
from faq_pipeline.evaluation.figures import are_short
from faq_pipeline.evaluation.stage import ANSWERS, SEQUENCES
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.store.store import Store
from faq_pipeline.study.analysis.costs import Cost, cost_of
from faq_pipeline.study.analysis.crossed import ScoreSample
from faq_pipeline.study.design.cells import StudyCell
from faq_pipeline.study.design.controls import has_draws
from faq_pipeline.study.design.stages import JUDGED, MEASURED
from faq_pipeline.study.execution.results import Result

SCORED = (JUDGED, MEASURED, "reference_eval")
"""The stages from whose artifacts scores are read."""


class Condition(NamedTuple):
    """A target and a quantizer: the setting in which arms are compared."""

    member: str
    quantizer: str


class ScoreKey(NamedTuple):
    """An arm on a condition."""

    member: str
    quantizer: str
    arm: str

    @property
    def condition(self) -> Condition:
        return Condition(self.member, self.quantizer)


@dataclass(frozen=True)
class Scores:
    """The scores of one finished cell. Arrays are (units,); a unit is a question or a sequence.

    Attributes:
        reference, correct: scores of the unquantized and the quantized target; None if the cell
            answered no questions.
        questions: the identity of each question.
        short_replies: share of replies less than half as long as the reference's to the same question;
            None if the cell wrote no replies.
        kl, kl_prose: KL in nats, summed over each sequence.
        tokens, tokens_prose: number of tokens of each of these sequences.
        fitness: fitness of the calibration set; None without one.
        calibration_tokens: number of tokens of the calibration set; None without one.
    """

    cell: StudyCell
    result: Result
    reference: Array | None
    correct: Array | None
    questions: tuple[Any, ...]
    short_replies: float | None
    kl: Array
    tokens: Array
    kl_prose: Array
    tokens_prose: Array
    fitness: float | None
    calibration_tokens: int | None
    cost: Cost

    @property
    def key(self) -> ScoreKey:
        return ScoreKey(self.cell.member, self.cell.quantizer, self.cell.arm)


def read_scores(cells: Iterable[StudyCell], results: Mapping[str, Result], store: Store) -> list[Scores]:
    """The scores of the finished ones among the given cells."""
    reader = _Reader(store)
    found = (reader.scores(cell, results.get(cell.id)) for cell in cells)
    return [scores for scores in found if scores is not None]


class _Answers(NamedTuple):
    """Identities of the questions; scores and tokens of the replies, and whether they were cut."""

    questions: tuple[Any, ...]
    correct: Array
    tokens: Array
    truncated: list[bool]


@dataclass(frozen=True)
class _Reader:
    store: Store

    def scores(self, cell: StudyCell, result: Result | None) -> Scores | None:
        if result is None or result.problem or not result.answers(cell):
            return None
        made = {stage: self.store.get(stage, name) for stage, name in result.artifacts.items()}
        last = made.get(JUDGED) or made.get(MEASURED)
        if last is None:
            return None
        calibration = made.get(stage_names.CALIBRATION_SET) if has_draws(cell.cell.recipe) else None
        traces, prose = (_sequences(last, scope) for scope in ("traces", "prose"))
        answers = _answers(last) if cell.judged else None
        reference = short = None
        if answers is not None:
            theirs = _answers(_reference(made[stage_names.REFERENCE_EVAL], cell))
            if theirs.questions != answers.questions:
                raise FaqError(f"{cell.id} and its reference were evaluated on different questions")
            reference, found = theirs.correct, are_short(theirs.tokens, theirs.truncated, answers.tokens)
            short = float(np.mean(found)) if found else None
        return Scores(
            cell=cell,
            result=result,
            reference=reference,
            correct=None if answers is None else answers.correct,
            questions=() if answers is None else answers.questions,
            short_replies=short,
            kl=traces[0],
            tokens=traces[1],
            kl_prose=prose[0],
            tokens_prose=prose[1],
            fitness=None if calibration is None else calibration.metadata["fitness"],
            calibration_tokens=None if calibration is None else calibration.metadata["tokens"],
            cost=cost_of(made),
        )


def samples(scores: Iterable[Scores], outcome: str) -> dict[ScoreKey, ScoreSample]:
    """The scores of each arm and condition as (draws, units).

    Args:
        outcome: `accuracy`, `loss`, `kl` or `kl_prose`.

    Raises:
        FaqError: cells of one target were measured on different questions or texts. This happens if
            they were made on different kinds of device, since then their references differ.
    """
    by_key: dict[ScoreKey, list[Scores]] = {}
    weights: dict[str, Array] = {}
    units: dict[ScoreKey, str] = {}
    for one in scores:
        found = _values(one, outcome)
        if found is None:
            continue
        _, own, name = found
        if not np.array_equal(weights.setdefault(name, own), own):
            raise FaqError(
                f"{one.cell.id} and other cells of {one.cell.member!r} were measured on different texts",
                hint="make all cells of one target on the same kind of device",
            )
        by_key.setdefault(one.key, []).append(one)
        units[one.key] = name
    return {key: _sample(rows, outcome, weights[units[key]], units[key]) for key, rows in by_key.items()}


def _values(one: Scores, outcome: str) -> tuple[Array, Array, str] | None:
    """Values, weights, and the name of the set of units; None if the cell has no such outcome."""
    if outcome in ("accuracy", "loss"):
        if one.correct is None or one.reference is None:
            return None
        values = one.correct if outcome == "accuracy" else one.reference - one.correct
        # Targets that answer the same questions share the set of units, so they are resampled together.
        return values, np.ones(len(values)), _named(one.questions)
    member = one.cell.member
    if outcome == "kl":
        return one.kl, one.tokens, f"answers of {member}"
    return one.kl_prose, one.tokens_prose, f"prose of {member}"


def _sample(scores: list[Scores], outcome: str, weights: Array, units: str) -> ScoreSample:
    ordered = sorted(scores, key=lambda one: one.cell.draw)
    values = [found[0] for one in ordered if (found := _values(one, outcome)) is not None]
    drawn = has_draws(ordered[0].cell.cell.recipe)
    return ScoreSample(
        np.stack(values), weights, tuple(one.cell.draw for one in ordered) if drawn else (), units
    )


def _named(questions: tuple[Any, ...]) -> str:
    """A name for a set of questions that is the same in every process."""
    return f"questions {short_hash(repr(questions).encode())}"


def _answers(artifact: Artifact) -> _Answers:
    identity = ["task", "doc_hash", "filter", "doc_id", "prompt_hash"]
    table = _table(artifact.file(ANSWERS), columns=[*identity, "correct", "tokens", "truncated"])
    questions = [table.column(name).to_pylist() for name in identity]
    correct, tokens = (np.array(table.column(name), dtype=np.float64) for name in ("correct", "tokens"))
    cut = table.column("truncated").to_pylist()
    return _Answers(tuple(zip(*questions, strict=True)), correct, tokens, cut)


def _sequences(artifact: Artifact, scope: str) -> tuple[Array, Array]:
    """KL in nats, and number of tokens, of each sequence."""
    table = _table(artifact.file(SEQUENCES), filters=[("scope", "=", scope)])
    return (
        np.array(table.column("nats"), dtype=np.float64),
        np.array(table.column("tokens"), dtype=np.float64),
    )


def _table(file: Path, **wanted: Any) -> pa.Table:
    with library_errors("the table cannot be read", file=file, hint="see faq cache verify"):
        return pq.read_table(file, **wanted)


def _reference(artifact: Artifact | None, cell: StudyCell) -> Artifact:
    if artifact is None:
        raise FaqError(f"the reference evaluation of {cell.id} is missing", hint="run the study again")
    return artifact
