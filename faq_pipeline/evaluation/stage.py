"""The stages `reference_eval` and `eval_report`, and `divergence`, which studies use for most cells."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.core import labels, stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import target_gpus
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.evaluation.checks import REPORT_CHECKS
from faq_pipeline.evaluation.cost import evaluation_work
from faq_pipeline.evaluation.documents import evaluation_documents, prose_rows
from faq_pipeline.evaluation.identity import (
    divergence_identity,
    evaluation_identity,
    report_identity,
)
from faq_pipeline.evaluation.report import FILES
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import SequenceDivergence
from faq_pipeline.util.memoize import memoized
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from faq_pipeline.evaluation.bootstrap import IntervalEstimate
    from faq_pipeline.evaluation.divergence import Passage

ANSWERS, REFERENCE_ANSWERS, EVALUATIONS = (
    "answers.parquet",
    "reference_answers.parquet",
    "evaluations.parquet",
)
REPLIES, SEQUENCES = "replies.parquet", "divergence.parquet"
TRACES, PROSE = "divergence/traces.safetensors", "divergence/prose.safetensors"


def _build_reference(build: Build) -> dict[str, Any]:
    from faq_pipeline.evaluation.answering import answer_and_load
    from faq_pipeline.evaluation.divergence import store_reference
    from faq_pipeline.evaluation.figures import evaluation_rows, reference_figures, reply_notes
    from faq_pipeline.evaluation.held_out import prose_passages, spread
    from faq_pipeline.models.loading import load_model, load_tokenizer
    from faq_pipeline.store.records import Answer, EvaluationRow, ReplyTokens
    from faq_pipeline.store.tables import write_rows

    cell, spec = build.cell, build.cell.recipe.evaluation
    tokenizer = load_tokenizer(cell.target)
    prose = prose_passages(spec, tokenizer, cell.target.context)
    answered, model = answer_and_load(
        cell, tokenizer, lambda: load_model(cell.target, cell.device), build.progress
    )
    own = [a.passage for a in answered if a.passage is not None] if spec.tasks else _replies(build)
    traces = spread(own, spec.traces)
    (build.directory / TRACES).parent.mkdir()
    for name, passages in ((TRACES, traces), (PROSE, prose)):
        build.progress.start("reference distributions", len(passages))
        store_reference(model, passages, build.directory / name, advance=build.progress.advance)
    answers = [a.answer for a in answered]
    figures = reference_figures(answers)
    replies = [
        ReplyTokens(a.answer.task, a.answer.doc_id, a.passage.ids[a.passage.start :])
        for a in answered
        if a.passage is not None
    ]
    write_rows(build.directory / ANSWERS, answers, Answer)
    write_rows(build.directory / REPLIES, replies, ReplyTokens)
    write_rows(build.directory / EVALUATIONS, evaluation_rows(figures), EvaluationRow)
    return _noted(figures, reply_notes({"unquantized": figures["truncated"]}, len(answers)), build.progress)


def _replies(build: Build) -> list[Passage]:
    """The reference's replies to the development prompts; they stand in where no task is asked."""
    from faq_pipeline.evaluation.divergence import Passage
    from faq_pipeline.store.records import Trace
    from faq_pipeline.store.tables import read_rows

    rows = read_rows(build.inputs[stage_names.INFERENCE_TRACES].file("traces.parquet"), Trace)
    return [Passage(row.input_ids, row.prompt_tokens) for row in rows]


def _upstream(cell: Cell, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """The traces matter only where no task is asked."""
    return () if cell.recipe.evaluation.tasks else inputs


def _build_report(build: Build) -> dict[str, Any]:
    from faq_pipeline.evaluation.answering import answer_and_load
    from faq_pipeline.evaluation.figures import (
        evaluation_rows,
        reply_notes,
        report_figures,
        short_reply_notes,
    )
    from faq_pipeline.evaluation.report import write_report
    from faq_pipeline.models.loading import load_tokenizer
    from faq_pipeline.quantization.load import load_quantized
    from faq_pipeline.store.records import Answer, CheckpointRow, EvaluationRow, ReplyTokens
    from faq_pipeline.store.tables import read_rows, write_rows

    cell, spec = build.cell, build.cell.recipe.evaluation
    reference, checkpoint = (
        build.inputs[stage_names.REFERENCE_EVAL],
        build.inputs[stage_names.QUANTIZED_CHECKPOINT],
    )
    folder, tokenizer = checkpoint.file("checkpoint"), load_tokenizer(cell.target)
    replies = read_rows(reference.file(REPLIES), ReplyTokens)
    answered, model = answer_and_load(
        cell,
        tokenizer,
        lambda: load_quantized(folder, cell.target.member, cell.device),
        build.progress,
        checkpoint=folder,
        drafts={(reply.task, reply.doc_id): reply.ids for reply in replies},
    )
    kl, kl_prose, sequences = _divergences(model, reference, spec.traces, build.progress)
    answers = [a.answer for a in answered]
    theirs = read_rows(reference.file(ANSWERS), Answer)
    figures = report_figures(theirs, answers, kl, kl_prose, spec.gate)
    # A comparison of recipes reads only reports, so each report includes the reference's answers.
    shutil.copy(reference.file(ANSWERS), build.directory / REFERENCE_ANSWERS)
    write_rows(build.directory / ANSWERS, answers, Answer)
    write_rows(build.directory / SEQUENCES, sequences, SequenceDivergence)
    rows = evaluation_rows(figures, Counter(sequence.scope for sequence in sequences))
    write_rows(build.directory / EVALUATIONS, rows, EvaluationRow)
    (row,) = read_rows(checkpoint.file("checkpoints.parquet"), CheckpointRow)
    write_report(build.directory, figures, row, checkpoint.metadata.get("bits_per_weight"))
    notes = reply_notes({"quantized": figures["truncated"]["quantized"]}, len(answers))
    notes += short_reply_notes(theirs, answers)
    return _noted(figures, notes, build.progress)


def _noted(figures: dict[str, Any], notes: list[str], progress: Progress) -> dict[str, Any]:
    for note in notes:
        progress.note(note)
    return {**figures, "notes": notes}


def _build_divergence(build: Build) -> dict[str, Any]:
    """Measure the divergence as in `eval_report`, without answering questions."""
    from faq_pipeline.evaluation.figures import evaluation_rows
    from faq_pipeline.quantization.load import load_quantized
    from faq_pipeline.store.records import EvaluationRow
    from faq_pipeline.store.tables import write_rows

    cell, folder = build.cell, build.inputs[stage_names.QUANTIZED_CHECKPOINT].file("checkpoint")
    model = load_quantized(folder, cell.target.member, cell.device)
    kl, kl_prose, sequences = _divergences(
        model, build.inputs[stage_names.REFERENCE_EVAL], cell.recipe.evaluation.traces, build.progress
    )
    figures = {"kl": kl and kl.as_dict(), "kl_prose": kl_prose and kl_prose.as_dict()}
    rows = evaluation_rows(
        {"questions": 0, "per_task": {}, **figures}, Counter(sequence.scope for sequence in sequences)
    )
    write_rows(build.directory / SEQUENCES, sequences, SequenceDivergence)
    write_rows(build.directory / EVALUATIONS, rows, EvaluationRow)
    return figures


def _divergences(
    model: PreTrainedModel, reference: Artifact, count: int, progress: Progress
) -> tuple[IntervalEstimate | None, IntervalEstimate | None, list[SequenceDivergence]]:
    """Mean divergence on the reference's answers and on prose, and the divergence of every sequence."""
    from faq_pipeline.evaluation.divergence import mean_divergence, measure

    means, sequences = [], []
    for scope, name in (("traces", TRACES), ("prose", PROSE)):
        progress.start("divergence", count)
        parts = measure(model, reference.file(name), advance=progress.advance)
        means.append(mean_divergence(parts))
        sequences += [SequenceDivergence(scope, i, p.tokens, p.total) for i, p in enumerate(parts)]
    return means[0], means[1], sequences


def _preflight(cell: Cell) -> None:
    """The held-out prose is well-formed."""
    prose_rows(cell.recipe.evaluation.prose)


def _preflight_missing(cell: Cell) -> None:
    """Local tasks load, with their documents; lm-eval has the others, which may lie on the hub."""
    _check_tasks(cell.recipe.evaluation)


@memoized
def _check_tasks(spec: Evaluation) -> None:
    from faq_pipeline.evaluation.task_loading import check_task_names, check_tasks

    if spec.include is None:
        check_task_names(spec.tasks)
        return
    evaluation_documents(spec)
    check_tasks(spec)


_LABELS = {
    **labels.TARGET,
    **labels.engine_labels("evaluation", "server"),
    "tasks": "evaluation.tasks",
    "prose": "evaluation.prose",
    "gate": "evaluation.gate",
}

REFERENCE_EVAL = Stage(
    name=stage_names.REFERENCE_EVAL,
    version=2,
    inputs=(stage_names.INFERENCE_TRACES,),
    select=_upstream,
    identity=evaluation_identity,
    build=_build_reference,
    gpus=target_gpus,
    work=evaluation_work,
    labels=_LABELS,
    preflight=_preflight,
    preflight_missing=_preflight_missing,
)
EVAL_REPORT = Stage(
    name=stage_names.EVAL_REPORT,
    version=3,
    inputs=(stage_names.QUANTIZED_CHECKPOINT, stage_names.REFERENCE_EVAL),
    identity=report_identity,
    build=_build_report,
    gpus=target_gpus,
    work=evaluation_work,
    labels=_LABELS,
    measurements=FILES,
    checks=REPORT_CHECKS,
)
DIVERGENCE = Stage(
    name=stage_names.DIVERGENCE,
    version=1,
    inputs=(stage_names.QUANTIZED_CHECKPOINT, stage_names.REFERENCE_EVAL),
    identity=divergence_identity,
    build=_build_divergence,
    gpus=lambda cell: 1,
    labels=labels.TARGET,
)
"""Not part of the pipeline's own graph: a study uses it where `eval_report` would take too long."""
