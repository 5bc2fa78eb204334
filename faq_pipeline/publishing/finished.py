"""A cell of which everything is made: what the gate judges and the model card tells of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from faq_pipeline.core.cell import Cell
from faq_pipeline.lineage.uses import cell_licences
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.tables import Seed, read_rows


@dataclass(frozen=True)
class FinishedCell:
    """A cell with the artifacts of all its stages, by stage."""

    cell: Cell
    artifacts: Mapping[str, Artifact]

    @property
    def checkpoint(self) -> Artifact:
        return self.artifacts["quantized_checkpoint"]

    @property
    def report(self) -> Artifact:
        return self.artifacts["eval_report"]

    @property
    def calibration(self) -> Artifact | None:
        """The set that the checkpoint was calibrated on; None where the method looks at no data."""
        used = "calibration_set" in self.checkpoint.manifest.inputs
        return self.artifacts["calibration_set"] if used else None

    def licences(self) -> dict[str, dict[str, int]]:
        """What is behind the checkpoint, under which licences: for `base`, `teacher` and `seeds`.

        Of the seeds that were drawn, each licence with the number of seeds. Neither teacher nor seeds
        are behind a checkpoint that has no calibration set.
        """
        models = {role: {licence: 1} for role, licence in cell_licences(self.cell).items()}
        if self.calibration is None:
            return {"base": models["base"]}
        seeds = read_rows(self.artifacts["seed_data"].file("seeds.parquet"), Seed)
        return {**models, "seeds": dict(sorted(Counter(seed.licence for seed in seeds).items()))}
