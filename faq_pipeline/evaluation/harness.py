"""Run lm-eval tasks and return one `Answer` per question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.family import Thinking
from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.divergence import Passage
from faq_pipeline.evaluation.quiet import quiet_lm_eval
from faq_pipeline.evaluation.task_loading import task_errors, task_manager
from faq_pipeline.store.records import Answer
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from faq_pipeline.evaluation.drafts import Drafts
    from faq_pipeline.evaluation.replies import Recording, Reply

SEED = 1234
"""Seed of everything that lm-eval draws at random (few-shot examples, sampling tasks)."""


@dataclass(frozen=True)
class Answered:
    """An answer and its tokens; `passage` is None if it was not generated."""

    answer: Answer
    passage: Passage | None


def answer_questions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    spec: Evaluation,
    thinking: Thinking,
    progress: Progress,
    drafts: Drafts | None = None,
) -> list[Answered]:
    """Evaluate a model in memory on the tasks of `spec`; see `run_tasks`.

    Args:
        drafts: replies of another model, which are verified instead of generated; see `drafts`.
    """

    def opened() -> AbstractContextManager[Recording]:
        from faq_pipeline.evaluation.recording_lm import RecordingLM

        return nullcontext(
            RecordingLM(
                model,
                tokenizer,
                batch_size=spec.batch_size,
                thinking=thinking,
                progress=progress,
                drafts=drafts,
            )
        )

    return run_tasks(opened, spec)


def run_tasks(opened: Callable[[], AbstractContextManager[Recording]], spec: Evaluation) -> list[Answered]:
    """Evaluate an lm-eval model on the tasks of `spec`, in their order.

    The score of a question is the task's first metric under its first filter, in 0..1. The response is
    the raw text of the model, including its reasoning. A reply that reached the limit, or whose reasoning
    did not end, counts as truncated. Multiple-choice tasks are scored by log-likelihood: their response
    is the chosen option, and they have no passage.

    Args:
        opened: opens the model; called after the tasks have been checked.

    Raises:
        FaqError: a task is unknown, a data file is missing, a question is too long for the context, or
            a task does not have one numeric score per question.
    """
    from lm_eval.evaluator import simple_evaluate

    with TemporaryDirectory() as scratch, quiet_lm_eval():
        manager = task_manager(spec, Path(scratch))
        with opened() as lm, task_errors(spec):
            results = simple_evaluate(
                model=lm,
                tasks=list(spec.tasks),
                task_manager=manager,
                limit=spec.limit,
                bootstrap_iters=0,
                log_samples=True,
                apply_chat_template=lm.tokenizer.chat_template is not None,
                gen_kwargs={"max_gen_toks": spec.max_new_tokens},
                random_seed=SEED,
                numpy_random_seed=SEED,
                torch_random_seed=SEED,
                fewshot_random_seed=SEED,
            )
    return [
        _answered(task, sample, lm.replies)
        for task, samples in results["samples"].items()
        for sample in _first_filter(samples)
    ]


def _first_filter(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the first filter, one per question, in document order."""
    first = samples[0]["filter"]
    return sorted((s for s in samples if s["filter"] == first), key=lambda s: s["doc_id"])


def _answered(task: str, sample: dict[str, Any], replies: Mapping[tuple[str, int], Reply]) -> Answered:
    reply = replies.get((task, sample["doc_id"]))
    domain = sample["doc"].get("domain", sample["doc"].get("task"))
    answer = Answer(
        task=task,
        domain=domain if isinstance(domain, str) and domain else task,
        doc_id=sample["doc_id"],
        doc_hash=sample["doc_hash"],
        filter=sample["filter"],
        prompt_hash=sample["prompt_hash"],
        target=str(sample["target"]),
        response=reply.text if reply else _choice(sample),
        correct=_score(task, sample),
        tokens=len(reply.ids) if reply else 0,
        truncated=reply.truncated if reply else False,
    )
    passage = Passage(reply.prompt + reply.ids, len(reply.prompt)) if reply and reply.ids else None
    return Answered(answer, passage)


def _score(task: str, sample: dict[str, Any]) -> float:
    metric = sample["metrics"][0] if sample["metrics"] else "none"
    value = sample.get(metric)
    if not isinstance(value, (bool, int, float)) or not 0 <= value <= 1:
        raise FaqError(
            f"task {task!r}: its first metric ({metric}) is not a score in 0..1 per question",
            hint="choose a task scored by accuracy or exact match",
        )
    return float(value)


def _choice(sample: dict[str, Any]) -> str:
    """The answer option with the highest log-likelihood."""
    scores = [response[0] for response in sample["filtered_resps"]]
    return str(sample["arguments"][scores.index(max(scores))][1]).strip()
