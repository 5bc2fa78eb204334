"""The stage `inference_traces`: greedy generations of the target on development prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.core import labels, stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import target_engine, target_gpus, target_identity
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.engine import Request
from faq_pipeline.inference.sampling import check_sampled
from faq_pipeline.models.chat import check_renders
from faq_pipeline.prompting.context_length import check_fits_context, check_leaves_room
from faq_pipeline.regeneration.cost import traces_work
from faq_pipeline.regeneration.traces import (
    Development,
    load_development,
    make_trace,
    pick_development,
    trace_requests,
)
from faq_pipeline.store.fingerprint import file_digest
from faq_pipeline.store.records import Trace
from faq_pipeline.store.tables import write_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWER_LIMIT = "evaluation.max_new_tokens"
COUNT = 64
"""Prompts that are answered: enough for second moments, cheap enough for every member."""


def _identity(cell: Cell) -> dict[str, Any]:
    path = cell.family.development
    if not path.is_file():
        raise FaqError(
            f"family {cell.family.name!r} has no development file here",
            hint="check the family's 'development'",
            file=path,
        )
    return {
        "target": cell.target.digest,
        "tokenizer": cell.target.tokenizer_digest,
        "development": file_digest(path),
        "count": COUNT,
        "max_new_tokens": cell.recipe.evaluation.max_new_tokens,
        "template_kwargs": cell.family.thinking.template_kwargs,
        "engine": target_identity(cell),
    }


def _build(build: Build) -> dict[str, Any]:
    from faq_pipeline.models.loading import load_tokenizer

    cell, progress = build.cell, build.progress
    tokenizer = load_tokenizer(cell.target)
    prompts, requests = _asked(cell, tokenizer)
    sampling = Sampling(temperature=0, max_new_tokens=cell.recipe.evaluation.max_new_tokens)
    progress.start("traces", len(requests))
    completions = {}
    with target_engine(cell) as engine:
        for completion in engine.generate(engine.units(requests), sampling):
            completions[completion.request_id] = completion
            progress.advance()
    check_sampled(completions.values())
    rows = [
        make_trace(prompt, request, completions[request.id], tokenizer)
        for prompt, request in zip(prompts, requests, strict=True)
    ]
    write_rows(build.directory / "traces.parquet", rows, Trace)
    return {
        "traces": len(rows),
        "tokens": sum(len(row.input_ids) for row in rows),
        "continuation_tokens": sum(len(row.input_ids) - row.prompt_tokens for row in rows),
        "truncated": sum(c.finish == "length" for c in completions.values()),
        "domains": len({row.domain for row in rows}),
    }


def _asked(cell: Cell, tokenizer: PreTrainedTokenizerBase) -> tuple[list[Development], list[Request]]:
    """The development prompts that are answered, and what the target is asked.

    Raises:
        FaqError: the file is malformed, the chat template refuses a prompt, or one does not fit the context.
    """
    prompts = pick_development(load_development(cell.family.development), COUNT)
    requests = trace_requests(prompts, tokenizer, cell.family.thinking)
    check_fits_context(
        zip(prompts, (request.prompt for request in requests), strict=True),
        tokenizer,
        cell.target,
        Development.error,
        new_tokens=cell.recipe.evaluation.max_new_tokens,
        key=ANSWER_LIMIT,
    )
    return prompts, requests


def _preflight(cell: Cell) -> None:
    """Answers leave room for a prompt; that of a member not downloaded yet is checked when it is built."""
    if cell.target.member.path is not None:
        check_leaves_room(cell.recipe.evaluation.max_new_tokens, cell.target, ANSWER_LIMIT)


def _preflight_missing(cell: Cell) -> None:
    """A local target's configuration and tokenizer load, and its template renders the prompts."""
    from faq_pipeline.models.loading import check_settings, shared_tokenizer

    if cell.target.member.path is not None:
        check_settings(cell.target)
        tokenizer = shared_tokenizer(cell.target)
        check_renders(tokenizer, cell.family.thinking, replies=False)
        _asked(cell, tokenizer)


INFERENCE_TRACES = Stage(
    name=stage_names.INFERENCE_TRACES,
    version=1,
    inputs=(),
    identity=_identity,
    build=_build,
    gpus=target_gpus,
    work=lambda cell: traces_work(cell, COUNT),
    labels={
        **labels.TARGET,
        **labels.engine_labels("evaluation", "engine"),
        "development": "development prompts of the family",
        "count": "number of traces",
        "max_new_tokens": "evaluation.max_new_tokens",
    },
    preflight=_preflight,
    preflight_missing=_preflight_missing,
)
