"""The artifacts with which a cell was completed earlier, and which of them are out of date."""

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
"""The last stage. A cell is completed once it has used an artifact of this stage."""


@dataclass(frozen=True)
class CellCompletion:
    """The artifacts of a completed cell, by stage in order. Some may have been removed since.

    Attributes:
        setting: device and draw; see `lineage.uses.cell_setting`.
    """

    setting: str
    artifacts: Mapping[str, Artifact]


def completions(uses: list[Use], store: Store) -> Iterator[CellCompletion]:
    """The completions of a cell, newest first, from its recorded uses."""
    for report in sorted((use for use in uses if use.stage == LAST), key=lambda use: -use.used):
        artifact = store.get(LAST, report.fingerprint)
        if artifact is None:
            continue
        # Not all stages are inputs of the report: round-to-nearest, for example, uses no data.
        same_setting = [use for use in uses if use.setting == report.setting]
        found = {use.stage: _artifact(store, use.stage, use.fingerprint) for use in same_setting}
        found |= _made_from(artifact, store)
        if found.keys() == STAGES.keys():
            yield CellCompletion(report.setting, {name: found[name] for name in STAGES})


def out_of_date(cell: Cell, completion: CellCompletion) -> dict[str, list[str]]:
    """The changes since a completion, in words, by stage in order. Each change is listed once."""
    found: dict[str, list[str]] = {}
    listed: set[str] = set()
    for name, artifact in completion.artifacts.items():
        texts = [text for text in _changes(name, cell, artifact, completion) if text not in listed]
        if texts:
            found[name] = texts
            listed.update(texts)
    return found


def _changes(name: str, cell: Cell, artifact: Artifact, completion: CellCompletion) -> Iterator[str]:
    if not artifact.readable:
        yield f"artifact {artifact.path.name[:8]} is gone from the store"
        return
    yield from identity_changes(STAGES[name], STAGES[name].identity(cell), artifact.manifest)
    for source, digest in artifact.manifest.inputs.items():
        upstream = completion.artifacts[source]
        if upstream.readable and upstream.digest != digest:
            yield f"{source} was made again, with other bytes"


def _made_from(artifact: Artifact, store: Store) -> dict[str, Artifact]:
    """An artifact and all its direct and indirect inputs that exist, by stage."""
    found: dict[str, Artifact] = {}
    queue = [artifact]
    while queue:
        current = queue.pop()
        stage = current.path.parent.name
        if stage not in found:
            found[stage] = current
            if current.readable:
                queue += [_artifact(store, *upstream) for upstream in current.manifest.upstream.items()]
    return found


def _artifact(store: Store, stage: str, fingerprint: str) -> Artifact:
    return Artifact(store.root / stage / fingerprint)
