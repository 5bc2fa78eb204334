"""What a cell of a study declares, whatever machine makes it: by this a result is known to be the cell's.

A fingerprint holds the device and the versions of tools too. A study may be made on one kind of
machine and reported on another, so its results are known by what the study says, and carry what they
were made with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faq_pipeline.config.paths import NAMES_ONLY
from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.tasks import TaskFolder
from faq_pipeline.store.fingerprint import file_digest, fingerprint
from faq_pipeline.study.design.stages import STUDY_STAGES

UNSAID = {"name", "title", "families", "baselines"}
"""What of a recipe shapes nothing. Nor does the folder that a file lies in."""


@dataclass(frozen=True)
class Declared:
    """Hashes of cells; a file is read once."""

    _files: dict[Path, str] = field(default_factory=dict)
    _tasks: dict[tuple[Path, tuple[str, ...]], Any] = field(default_factory=dict)

    def __call__(self, cell: Cell) -> str:
        """The hash.

        Raises:
            FaqError: an unknown task or a file that is not there.
        """
        recipe, seeds = cell.recipe, cell.recipe.seeds
        said = {
            "recipe": recipe.model_dump(mode="json", exclude=UNSAID, context={NAMES_ONLY: True}),
            "family": cell.family.model_dump(mode="json", include={"prompts", "thinking"}),
            "target": cell.target.digest,
            "teacher": cell.teacher and cell.teacher.digest,
            "seeds": seeds.path and self._digest(seeds.path),
            "development": self._digest(cell.family.development),
            "prose": self._digest(recipe.evaluation.prose),
            "tasks": self._task_files(recipe.evaluation),
            "stages": {name: stage.version for name, stage in STUDY_STAGES.items()},
        }
        return fingerprint("study cell", 1, said, {})

    def _digest(self, path: Path) -> str:
        if path not in self._files:
            self._files[path] = file_digest(path)
        return self._files[path]

    def _task_files(self, spec: Evaluation) -> Any:
        if spec.include is None:
            return list(spec.tasks)
        key = spec.include, tuple(spec.tasks)
        if key not in self._tasks:
            self._tasks[key] = TaskFolder(spec.include).digests(spec.tasks)
        return self._tasks[key]
