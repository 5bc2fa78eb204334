"""How many questions an evaluation asks, known without loading lm-eval or a model."""

from __future__ import annotations

from pathlib import Path

from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.evaluation.tasks import TaskFolder, TaskSource
from faq_pipeline.util.memoize import memoized


@memoized
def written_answers(spec: Evaluation) -> int | None:
    """Questions that the model answers in writing.

    None where that is not known here: lm-eval's own tasks, choices (they are read, not written), and
    data other than JSON lines.

    Raises:
        FaqError: an unknown task, or a file that it names and that is not there.
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
