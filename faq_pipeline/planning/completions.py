"""What a cell was once completed with, and what of that is out of date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from faq_pipeline.core.cell import Cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.lineage.uses import Use
from faq_pipeline.planning.identity_diff import identity_changes
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.store import Store

LAST = list(STAGES)[-1]
"""A cell that has used an artifact of this stage was completed."""


@dataclass(frozen=True)
class CellCompletion:
    """The artifacts of a completed cell by stage, all stages in order; one may since be gone.

    Attributes:
        setting: device and draw, see `lineage.uses.cell_setting`.
    """

    setting: str
    artifacts: Mapping[str, Artifact]


def completions(uses: list[Use], store: Store) -> Iterator[CellCompletion]:
    """What a cell was completed with, by its uses, the newest first."""
    for report in sorted((use for use in uses if use.stage == LAST), key=lambda use: -use.used):
        artifact = store.get(LAST, report.fingerprint)
        if artifact is None:
            continue
        # A report need not be made from all stages (round-to-nearest looks at no data).
        beside = [use for use in uses if use.setting == report.setting]
        found = {use.stage: _artifact(store, use.stage, use.fingerprint) for use in beside}
        found |= _made_from(artifact, store)
        if found.keys() == STAGES.keys():
            yield CellCompletion(report.setting, {name: found[name] for name in STAGES})


def out_of_date(cell: Cell, completion: CellCompletion) -> dict[str, list[str]]:
    """What changed since, by stage and in words, in the order of the stages; each change once."""
    found: dict[str, list[str]] = {}
    told: set[str] = set()
    for name, artifact in completion.artifacts.items():
        texts = [text for text in _of_stage(name, cell, artifact, completion) if text not in told]
        if texts:
            found[name] = texts
            told.update(texts)
    return found


def _of_stage(name: str, cell: Cell, artifact: Artifact, completion: CellCompletion) -> Iterator[str]:
    if not artifact.readable:
        yield f"artifact {artifact.path.name[:8]} is gone from the store"
        return
    yield from identity_changes(STAGES[name], STAGES[name].identity(cell), artifact.manifest)
    for source, digest in artifact.manifest.inputs.items():
        upstream = completion.artifacts[source]
        if upstream.readable and upstream.digest != digest:
            yield f"{source} was made again, with other bytes"


def _made_from(artifact: Artifact, store: Store) -> dict[str, Artifact]:
    """An artifact and all that it was made from, by stage, as far as that is there."""
    found: dict[str, Artifact] = {}
    queue = [artifact]
    while queue:
        one = queue.pop()
        stage = one.path.parent.name
        if stage not in found:
            found[stage] = one
            if one.readable:
                queue += [_artifact(store, *upstream) for upstream in one.manifest.upstream.items()]
    return found


def _artifact(store: Store, stage: str, fingerprint: str) -> Artifact:
    return Artifact(store.root / stage / fingerprint)
