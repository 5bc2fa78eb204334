"""The results of a study's cells, one small JSON file per cell.

They are stored as `.studies/<study>/<cell>.json` in the artifact store, so that a copy of the store
includes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from faq_pipeline.core import stage_names
from faq_pipeline.errors import reading_file
from faq_pipeline.store.store import Store
from faq_pipeline.study.design.cells import StudyCell
from faq_pipeline.util.atomic_files import write_atomic
from faq_pipeline.util.files import ABSENT, listing

FOLDER = ".studies"


@dataclass(frozen=True)
class Result:
    """The result of a cell that is finished or failed.

    Attributes:
        declared: see `StudyCell`.
        artifacts: fingerprints by stage; all stages of the cell, or those made before it failed.
        problem: why the cell failed; empty if it is finished.
        trace: traceback of an unexpected error; empty for a user error.
        machine: what it was made with: `kind`, `device`, `cores`, `commit`, `versions`.
    """

    id: str
    declared: str
    judged: bool
    artifacts: Mapping[str, str]
    problem: str = ""
    trace: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)

    def answers(self, cell: StudyCell) -> bool:
        """Whether this is a result of the cell as the study declares it now."""
        return self.declared == cell.declared and (self.judged or not cell.judged)


def write_result(store: Store, study: str, result: Result) -> None:
    """Write a result atomically. It replaces an earlier result of the same cell."""
    path = store.root / FOLDER / study / f"{result.id}.json"
    write_atomic(path, json.dumps(asdict(result), indent=1, sort_keys=True) + "\n")


def read_results(store: Store, study: str) -> dict[str, Result]:
    """All results of a study by cell id. Damaged files are ignored, see `damaged_results`.

    Raises:
        ReadError: a file or the folder cannot be read now.
    """
    return {result.id: result for _, result in _read(store.root / FOLDER / study) if result is not None}


def damaged_results(store: Store, study: str) -> list[Path]:
    """The files that hold no result; their cells count as not made.

    Raises:
        ReadError: a file or the folder cannot be read now.
    """
    return [path for path, result in _read(store.root / FOLDER / study) if result is None]


def is_finished(cell: StudyCell, results: Mapping[str, Result], store: Store) -> bool:
    """Whether the cell has a current result without a problem, whose last artifact is in the store."""
    result = results.get(cell.id)
    if result is None or result.problem or not result.answers(cell):
        return False
    return any(
        store.get(stage, result.artifacts[stage]) is not None
        for stage in (stage_names.EVAL_REPORT, stage_names.DIVERGENCE)
        if stage in result.artifacts
    )


_RESULT = TypeAdapter(Result)


def _read(folder: Path) -> Iterator[tuple[Path, Result | None]]:
    """The files of results, with None for a damaged one."""
    with reading_file(folder):
        paths = listing(folder, ".json")
    for path in paths:
        try:
            with reading_file(path):
                text = path.read_bytes()
        except ABSENT:
            continue  # removed since it was listed
        try:
            result = _RESULT.validate_json(text, strict=True)
        except ValueError:
            yield path, None
        else:
            yield path, result if result.id == path.stem else None
