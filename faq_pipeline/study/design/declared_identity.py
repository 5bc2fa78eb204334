"""The declared identity of a study's cell: it matches a result to its cell, on any machine.

A fingerprint also contains the device and the versions of tools. But a study may be made on one kind of
machine and reported on another. So its results are identified by what the study declares, and record the
machine and versions as data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from faq_pipeline.competition.answers import answer_rules
from faq_pipeline.config.paths import NAMES_ONLY
from faq_pipeline.config.recipe import Evaluation, Recipe
from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.tasks import TaskFolder
from faq_pipeline.store.fingerprint import file_digest, fingerprint, ordered
from faq_pipeline.study.design.stages import STUDY_STAGES

UNSAID = {"name", "title", "families", "baselines"}
"""Fields of a recipe that do not influence any result. Nor do the folders of its files."""

ADDED: dict[tuple[str, ...], Any] = {
    ("quantization", "ranks"): None,
    ("quantization", "observer"): "minmax",
    ("quantization", "layer_bits"): None,
    ("quantization", "plan"): None,
    ("quantization", "kv_cache"): None,
    ("quantization", "compensation"): None,
    ("quantization", "compensation", "kind"): "low_rank",
    ("quantization", "duo_scaling"): True,
    ("quantization", "iterations"): 200,
    ("quantization", "rotate"): False,
    ("quantization", "smoothing_form"): "balanced",
}
"""Keys of a recipe, or of a section within a section, that came after results were kept, and their defaults:
only other values count."""


def declared_recipe(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says of its results."""
    said = recipe.model_dump(mode="json", exclude=UNSAID, context={NAMES_ONLY: True})
    for (*sections, key), default in ADDED.items():
        holder = reduce(lambda node, section: node.get(section) or {}, sections, said)
        if key in holder and holder[key] == default:
            del holder[key]
    if bits := said["quantization"].get("layer_bits"):
        said["quantization"]["layer_bits"] = ordered(bits)
    return said


@dataclass(frozen=True)
class Declared:
    """Computes the hashes of cells; each file is read once."""

    _files: dict[Path, str] = field(default_factory=dict)
    _tasks: dict[tuple[Path, tuple[str, ...]], Any] = field(default_factory=dict)

    def __call__(self, cell: Cell) -> str:
        """The hash of what a cell declares.

        Raises:
            FaqError: a task is unknown, or a file does not exist.
        """
        recipe, seeds = cell.recipe, cell.recipe.seeds
        identity = {
            "recipe": declared_recipe(recipe),
            "family": cell.family.model_dump(mode="json", include={"prompts", "thinking"}),
            "target": cell.target.digest,
            "teacher": cell.teacher and cell.teacher.digest,
            "seeds": seeds.path and self._digest(seeds.path),
            "development": self._digest(cell.family.development),
            "prose": self._digest(recipe.evaluation.prose),
            "tasks": self._task_files(recipe.evaluation),
            "stages": {name: stage.version for name, stage in STUDY_STAGES.items()},
            **answer_rules(recipe),
        }
        return fingerprint("study cell", 1, identity, {})

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
