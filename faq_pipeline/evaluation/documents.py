"""Evaluation documents: the texts that calibration sets must not contain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel

from faq_pipeline.config.json_objects import read_objects
from faq_pipeline.config.jsonl import read_jsonl, read_lines
from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.tasks import TaskFolder

LONG = 8
"""Minimum number of words for an answer to count as a document; short answers occur anywhere."""
SHORTEST = 3
"""Minimum number of words for a question field to count as a document."""


@dataclass(frozen=True)
class Document:
    """An evaluation question, a long answer or a prose passage."""

    id: str
    text: str


class Prose(BaseModel):
    """A row of held-out plain text."""

    id: str
    text: str


def evaluation_documents(spec: Evaluation) -> list[Document]:
    """All documents of the evaluation's tasks (its limit is ignored) and of its prose file.

    JSON files of local tasks are read directly; other tasks are loaded with lm-eval.

    Raises:
        FaqError: a task is unknown, or a file is missing or malformed.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        questions = list(_from_files(spec)) if spec.tasks else []
        if spec.tasks and not questions:
            questions = list(_from_harness(spec, folder))
    return [*questions, *(Document(row.id, row.text) for row in prose_rows(spec.prose))]


def prose_rows(path: Path) -> list[Prose]:
    """Read the held-out plain text.

    Raises:
        FaqError: the file is missing or malformed. The error has file and line.
    """
    return [row for _, row in read_jsonl(path, Prose)]


def _from_files(spec: Evaluation) -> Iterator[Document]:
    """Documents of local tasks. Yields nothing unless the data of every task is JSON or JSON Lines."""
    if spec.include is None:
        return
    folder = TaskFolder(spec.include)
    tasks = [task for name in spec.tasks for task in folder.sources(name)]
    if not all(path.suffix in (".json", ".jsonl") for task in tasks for path in task.evaluated):
        return
    for task in tasks:
        number = 0
        for path in task.evaluated:
            for row in _rows(path):
                yield from _of_row(f"{task.name}/{number}", row, task.question, task.answer)
                number += 1


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".json":
        with suppress(FaqError):  # lines of JSON may have that name too
            return read_objects(path)
    return [row for _, row in read_lines(path)]


def _from_harness(spec: Evaluation, scratch: Path) -> Iterator[Document]:
    from faq_pipeline.evaluation.task_loading import load_tasks

    for name, task in load_tasks(spec, scratch).items():
        question, answer = task.config.doc_to_text, task.config.doc_to_target
        for number, row in enumerate(task.eval_docs):
            yield from _of_row(f"{name}/{number}", row, question, answer)


def _of_row(name: str, row: Mapping[str, Any], question: Any, answer: Any) -> Iterator[Document]:
    """The documents of one row: its question, and its answer if that is long.

    The raw fields are used, not the formatted prompt: a leaked copy does not contain "Question:".
    """
    fields = {key: value for key, value in row.items() if isinstance(value, str)}
    asked = list(_named(fields, question)) or [k for k in fields if _words(fields[k]) >= LONG]
    for key in asked:
        if _words(fields[key]) >= SHORTEST:
            yield Document(name if len(asked) == 1 else f"{name} {key}", fields[key])
    for key in _named(fields, answer):
        if key not in asked and _words(fields[key]) >= LONG:
            yield Document(f"{name} {key}", fields[key])


def _named(fields: Iterable[str], template: Any) -> list[str]:
    """The fields that a `doc_to_...` template mentions; none if it is a function."""
    mentioned = set(re.findall(r"\w+", template)) if isinstance(template, str) else set()
    return [key for key in fields if key in mentioned]


def _words(text: str) -> int:
    return len(re.findall(r"\w+", text))
