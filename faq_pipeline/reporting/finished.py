"""A cell with all of its artifacts: the input of the gate and of the model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import MissingUpstreamError
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.lineage.uses import cell_licences
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.records import Seed
from faq_pipeline.store.tables import read_rows


@dataclass(frozen=True)
class FinishedCell:
    """A cell with the artifacts of all its stages, by stage name."""

    cell: Cell
    artifacts: Mapping[str, Artifact]

    @property
    def checkpoint(self) -> Artifact:
        return self.artifacts[stage_names.QUANTIZED_CHECKPOINT]

    @property
    def report(self) -> Artifact:
        return self.artifacts[stage_names.EVAL_REPORT]

    @property
    def calibration(self) -> Artifact | None:
        """The calibration set of the checkpoint; None if the method uses no data."""
        used = stage_names.CALIBRATION_SET in self.checkpoint.manifest.inputs
        return self.artifacts[stage_names.CALIBRATION_SET] if used else None

    def ancestry(self) -> dict[str, Artifact]:
        """The artifacts that the report was made from, and the report itself, by stage in order.

        Without the calibration set and what it was made from where the checkpoint uses none.
        """
        wanted = {stage_names.EVAL_REPORT}
        for name, artifact in reversed(list(self.artifacts.items())):
            if name in wanted:
                wanted.update(artifact.manifest.inputs)
        return {name: artifact for name, artifact in self.artifacts.items() if name in wanted}

    def licences(self) -> dict[str, dict[str, int]]:
        """The licences behind the checkpoint with their counts, for `base`, `teacher` and `seeds`.

        The count of a model's licence is 1; that of the seeds is the number of drawn seeds. A checkpoint
        without a calibration set has only `base`.
        """
        models = {role: {licence: 1} for role, licence in cell_licences(self.cell).items()}
        if self.calibration is None:
            return {"base": models["base"]}
        seeds = read_rows(self.artifacts[stage_names.SEED_DATA].file("seeds.parquet"), Seed)
        return {**models, "seeds": dict(sorted(Counter(seed.licence for seed in seeds).items()))}


def finished_cell(settings: Settings, cell: Cell) -> FinishedCell:
    """The cell with its artifacts.

    Raises:
        MissingUpstreamError: one is not made yet.
    """
    planned = plan(cell, STAGES, settings.store)
    artifacts = {name: one.artifact for name, one in planned.items() if one.artifact is not None}
    missing = next((name for name in planned if name not in artifacts), None)
    if missing is not None:
        raise MissingUpstreamError(
            f"{cell.partition} has no {missing} yet",
            hint=f"faq run --member {cell.target.name} --recipe {cell.recipe.name}",
        )
    return FinishedCell(cell, artifacts)
