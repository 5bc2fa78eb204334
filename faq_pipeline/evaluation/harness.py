"""lm-eval on a model in memory: questions in, one `Answer` a question out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from faq_pipeline.config.family import Thinking
from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.divergence import Passage
from faq_pipeline.evaluation.tasks import TaskFolder
from faq_pipeline.progress import Progress
from faq_pipeline.records import Answer

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from faq_pipeline.evaluation.drafts import Drafts
    from faq_pipeline.evaluation.recording import Reply

SEED = 1234
"""Of everything that lm-eval draws (few-shot examples, sampling tasks)."""


@dataclass(frozen=True)
class Answered:
    """An answer, and its tokens where it was generated."""

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
    """Evaluate the model on the tasks of `spec`, in their order.

    Args:
        drafts: replies of another model, to be checked instead of written where they agree.

    A question's score is the task's first metric under its first filter, in 0..1. The response is
    what the model wrote, reasoning included. A reply that reached the limit, or whose reasoning never
    ended, counts as truncated. Multiple-choice tasks are scored by log-likelihood: their response is
    the chosen option and they have no passage.

    Raises:
        FaqError: an unknown task, a missing data file, a question too long for the context, or a
            task whose score is not one number a question.
    """
    from lm_eval.evaluator import simple_evaluate

    from faq_pipeline.evaluation.recording import RecordingLM

    with TemporaryDirectory() as scratch, _quiet():
        manager = task_manager(spec, Path(scratch))
        lm = RecordingLM(
            model,
            tokenizer,
            batch_size=spec.batch_size,
            thinking=thinking,
            progress=progress,
            drafts=drafts or {},
        )
        results = simple_evaluate(
            model=lm,
            tasks=list(spec.tasks),
            task_manager=manager,
            limit=spec.limit,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=tokenizer.chat_template is not None,
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


def task_manager(spec: Evaluation, scratch: Path) -> TaskManager:
    """lm-eval's index of the tasks of `spec`: local ones from copies in `scratch`, or lm-eval's own.

    Raises:
        FaqError: an unknown task or a missing data file.
    """
    from lm_eval.tasks import TaskManager

    if spec.include is not None:
        TaskFolder(spec.include).resolve(spec.tasks, scratch)
        return TaskManager(include_path=str(scratch), include_defaults=False)
    manager = TaskManager()
    for name in spec.tasks:
        if name not in manager.task_index:
            raise FaqError(f"lm-eval has no task {name!r}", mend="see `lm-eval ls tasks`, or set 'include'")
    return manager


def _first_filter(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a question, in the documents' order."""
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
            f"task {task!r}: its first metric ({metric}) is not a score of 0..1 a question",
            mend="choose a task scored by accuracy or exact match",
        )
    return float(value)


def _choice(sample: dict[str, Any]) -> str:
    """The option with the highest log-likelihood."""
    scores = [response[0] for response in sample["filtered_resps"]]
    return str(sample["arguments"][scores.index(max(scores))][1]).strip()


@contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval and datasets without log lines and progress bars."""
    import datasets
    from lm_eval import evaluator
    from lm_eval.api import task

    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "transformers")]
    levels = [logger.level for logger in loggers]
    bars = datasets.are_progress_bars_disabled()
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        with (
            patch.object(task, "tqdm", lambda rows, **_: rows),
            # What it reports of the machine comes from subprocesses that take a second and complain.
            patch.object(evaluator, "add_env_info", lambda results: None),
            patch.object(evaluator, "get_git_commit_hash", lambda: None),
        ):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
