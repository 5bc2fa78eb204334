"""A checkpoint or a calibration set by the name that a user gave, with what it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.exports.marked_folder import fingerprint_in
from faq_pipeline.lineage.uses import read_uses
from faq_pipeline.quantization.methods import needs_calibration
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact

EXPORTED = (stage_names.QUANTIZED_CHECKPOINT, stage_names.CALIBRATION_SET)


@dataclass(frozen=True)
class Source:
    """An artifact to export.

    Attributes:
        artifact: of stage `quantized_checkpoint` or `calibration_set`.
        named: what the user called it.
    """

    settings: Settings
    artifact: Artifact
    named: str

    @cached_property
    def checkpoint(self) -> Artifact:
        """The checkpoint.

        Raises:
            FaqError: the artifact is a calibration set.
        """
        if self.artifact.manifest.stage != stage_names.QUANTIZED_CHECKPOINT:
            raise FaqError(
                f"{self.named} is a calibration set and holds no checkpoint",
                hint="name a checkpoint, or export with --to text, messages, parquet or imatrix",
            )
        return self.artifact

    @cached_property
    def calibration(self) -> Artifact:
        """The calibration set: the artifact itself, or the one that the checkpoint was made with.

        Raises:
            FaqError: the checkpoint was made without one, or it is gone.
        """
        if self.artifact.manifest.stage == stage_names.CALIBRATION_SET:
            return self.artifact
        if stage_names.CALIBRATION_SET not in self.artifact.manifest.upstream:
            raise FaqError(f"{self.named} was quantized without calibration data")
        return self.made_from(self.artifact, stage_names.CALIBRATION_SET)

    @cached_property
    def cell(self) -> Cell:
        """The newest cell that uses the artifact.

        Raises:
            FaqError: none does, or its member, family or recipe is not here any more.
        """
        partitions = [u.partition for u in read_uses(self.settings.store) if self._is_used(u.fingerprint)]
        if not partitions:
            raise FaqError(f"no run recorded whose artifact {self.named} is", hint="name it as member|recipe")
        member, _, recipe = partitions[-1].partition("|")
        return CellResolver(self.settings).cell(member, recipe)

    def made_from(self, artifact: Artifact, stage: str) -> Artifact:
        """An input of an artifact.

        Raises:
            FaqError: it is gone.
        """
        fingerprint = artifact.manifest.upstream[stage]
        found = self.settings.store.get(stage, fingerprint)
        if found is None:
            raise FaqError(f"the {stage} {fingerprint} that {self.named} was made from is gone")
        return found

    def _is_used(self, fingerprint: str) -> bool:
        return fingerprint == self.artifact.fingerprint


def find_source(settings: Settings, name: str) -> Source:
    """The artifact of a fingerprint (or its first digits), the newest one of `member|recipe`, or the one in a
    folder that `faq quantize` made, or that is the store's own.

    Raises:
        FaqError: there is none, or more than one.
    """
    if "|" in name:
        return Source(settings, _of_cell(settings, name), name)
    folder = Path(name).expanduser()
    wanted = fingerprint_in(folder, settings.store) if folder.is_dir() else name
    found = [a for a in settings.store.find(wanted) if a.path.parent.name in EXPORTED]
    if folder.is_dir() and not found:
        raise FaqError(
            f"the checkpoint {wanted[:8]} that this folder is a copy of is not in {settings.store.root}",
            hint="set FAQ_HOME to that of the run that made it",
            file=folder,
        )
    if len(found) != 1:
        if "/" in name:
            raise FaqError(f"{name} is no folder and no artifact", hint="see: faq cache ls")
        what = "no checkpoint or calibration set has" if not found else f"{len(found)} artifacts have"
        raise FaqError(f"{what} a fingerprint that starts with {name!r}", hint="see: faq cache ls")
    return Source(settings, found[0], name)


def _of_cell(settings: Settings, name: str) -> Artifact:
    member, _, recipe = name.partition("|")
    cell = CellResolver(settings).cell(member.strip(), recipe.strip())
    planned = plan(cell, STAGES, settings.store)
    found = planned[stage_names.QUANTIZED_CHECKPOINT].artifact
    if found is None and needs_calibration(cell.recipe.quantization):
        found = planned[stage_names.CALIBRATION_SET].artifact
    if found is None:
        hint = f"faq run --member {cell.target.name} --recipe {cell.recipe.name}"
        raise FaqError(f"{cell.partition} has no checkpoint and no calibration set yet", hint=hint)
    return found
