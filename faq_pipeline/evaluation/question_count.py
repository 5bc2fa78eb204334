"""Count the questions of an evaluation without loading lm-eval or a model."""

from __future__ import annotations

from pathlib import Path

from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.evaluation.tasks import TaskFolder, TaskSource
from faq_pipeline.util.memoize import memoized


@memoized
def written_answers(spec: Evaluation) -> int | None:
    """The number of questions that the model answers by generating text.

    None if it is unknown: for lm-eval's own tasks, multiple-choice tasks (which generate no text), and
    data that is not JSON Lines.

    Raises:
        FaqError: a task is unknown, or a file that it names does not exist.
    """
    if spec.include is None:
        return None
    folder = TaskFolder(spec.include)
    counts = [_questions(task, spec.limit) for name in spec.tasks for task in folder.sources(name)]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _questions(task: TaskSource, limit: int | None) -> int | None:
    if not task.generates or any(path.suffix != ".jsonl" for path in task.evaluated):
        return None
    count = sum(_lines(path) for path in task.evaluated)
    return count if limit is None else min(count, limit)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())
