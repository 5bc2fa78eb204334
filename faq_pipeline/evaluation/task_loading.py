"""Finds and loads lm-eval's tasks: the user's own, or those that come with lm-eval."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.errors import FaqError, library_errors, nearest_of_many
from faq_pipeline.evaluation.quiet import quiet_lm_eval
from faq_pipeline.evaluation.tasks import TaskFolder

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


def task_manager(spec: Evaluation, scratch: Path) -> TaskManager:
    """lm-eval's index of the tasks of `spec`: local tasks, copied to `scratch`, or lm-eval's own tasks.

    Raises:
        FaqError: a task is unknown, or a data file is missing.
    """
    from lm_eval.tasks import TaskManager

    if spec.include is not None:
        TaskFolder(spec.include).resolve(spec.tasks, scratch)
        with task_errors(spec):
            return TaskManager(include_path=str(scratch), include_defaults=False)
    check_task_names(spec.tasks)
    return _own_tasks()


def check_task_names(names: Sequence[str]) -> None:
    """Refuse names that lm-eval's own tasks do not have.

    Raises:
        FaqError: names the nearest that it has.
    """
    for name in names:
        if name not in (known := _own_tasks().task_index):
            hint = nearest_of_many(name, known, "`lm-eval ls tasks`")
            raise FaqError(
                f"lm-eval has no task {name!r}", hint=f"{hint}; or set 'include'", key="evaluation.tasks"
            )


@cache
def _own_tasks() -> TaskManager:
    """The index of lm-eval's own tasks and groups. To make it, thousands of files are read: seconds."""
    from lm_eval.tasks import TaskManager

    with quiet_lm_eval():
        return TaskManager()


def load_tasks(spec: Evaluation, scratch: Path) -> dict[str, Any]:
    """lm-eval's tasks of `spec` by name, with their documents.

    Raises:
        FaqError: see `task_manager`, or lm-eval cannot load one.
    """
    manager = task_manager(spec, scratch)
    with task_errors(spec):
        loaded: dict[str, Any] = manager.load(list(spec.tasks))["tasks"]
    return loaded


def check_tasks(spec: Evaluation) -> None:
    """Load the tasks of `spec` as an evaluation will, and form the first question of each.

    Raises:
        FaqError: see `load_tasks`; or a template of a task raises.
    """
    with TemporaryDirectory() as scratch, quiet_lm_eval():
        for task in load_tasks(spec, Path(scratch)).values():
            with task_errors(spec):
                first = next(iter(task.eval_docs), None)
                if first is not None:
                    task.doc_to_text(first)
                    task.doc_to_target(first)


def task_errors(spec: Evaluation) -> library_errors:
    """Within it, errors of lm-eval, and of what the user's task files have it do, name the tasks."""
    what = f"lm-eval cannot do {' or '.join(map(repr, spec.tasks))}"
    return library_errors(what, file=spec.include, hint="correct the task", key="evaluation.tasks")
