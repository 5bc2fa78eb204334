"""Whether the artifacts of a cell are up to date, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage_names import EVAL_REPORT, QUANTIZED_CHECKPOINT, REFERENCE_EVAL
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.lineage.uses import Use, read_uses
from faq_pipeline.planning.cell_plan import CellPlan
from faq_pipeline.planning.identity_diff import identity_changes
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.store import Store

LAST = list(STAGES)[-1]
"""The last stage. A cell is completed once it has used an artifact of this stage."""
EVALUATION = {REFERENCE_EVAL, EVAL_REPORT}
"""Stages that a run with `--no-eval` leaves out."""
MOST_CHANGES = 8
"""Maximum number of changes listed in a reason; further changes are counted."""


class State(StrEnum):
    """The state of a cell."""

    COMPLETE = "complete"
    """Everything that it declares is made, on this or another device."""
    STALE = "stale"
    """It was completed, but declares something else now."""
    UNEVALUATED = "not evaluated"
    """Its checkpoint is made, and no run has finished a stage of its evaluation, as with `--no-eval`."""
    PARTIAL = "partial"
    """A run of it started, but it was never completed."""
    MISSING = "missing"
    """No run of it started, though other cells may have made stages that it shares."""
    IMPOSSIBLE = "impossible"
    """It cannot be made now: no larger teacher, no weights, or a broken recipe."""


@dataclass(frozen=True)
class Freshness:
    """A cell's state and the reason.

    Attributes:
        stage: the first stage that is out of date and not made again, or that is missing.
    """

    state: State
    reason: str = ""
    stage: str | None = None


def freshness(seen: CellPlan, store: Store) -> Freshness:
    """The state of a cell.

    A completion with another draw does not count. A completion on another device with the same
    declarations makes the cell complete.
    """
    if seen.cell is None:
        return Freshness(State.IMPOSSIBLE, seen.problem or "")
    if seen.complete:
        return Freshness(State.COMPLETE)
    uses = [use for use in read_uses(store, seen.partition) if use.is_of(seen.cell.recipe.draw)]
    newest: dict[str, list[str]] = {}
    for completion in _completions(uses, store):
        changed = _out_of_date(seen.cell, completion)
        if not changed:
            return Freshness(State.COMPLETE, f"made with another machine ({completion.setting})")
        newest = newest or changed
    missing = [name for name, planned in seen.planned.items() if planned.artifact is None]
    waiting = missing[0]
    if newest:
        stage = next((name for name in newest if name in missing), waiting)
        return Freshness(State.STALE, _in_words(newest), stage)
    made = f"{seen.made} of {len(STAGES)} stages are made"
    if _is_unevaluated(missing, uses):
        return Freshness(State.UNEVALUATED, f"the checkpoint is made, {made}", waiting)
    if uses:
        return Freshness(State.PARTIAL, f"never completed, {made}", waiting)
    never = f"never made, {made} for other cells" if seen.made else "never made"
    return Freshness(State.MISSING, never, waiting)


def _is_unevaluated(missing: list[str], uses: list[Use]) -> bool:
    """Whether a run made the checkpoint, and none has used a stage of the evaluation."""
    used = {use.stage for use in uses}
    return EVALUATION.issuperset(missing) and used.isdisjoint(EVALUATION) and QUANTIZED_CHECKPOINT in used


def _in_words(found: Mapping[str, list[str]]) -> str:
    left, parts = MOST_CHANGES, []
    for stage, texts in found.items():
        if texts[:left]:
            parts.append(f"{stage}: {', '.join(texts[:left])}")
        left = max(0, left - len(texts))
    more = sum(map(len, found.values())) - MOST_CHANGES
    return "; ".join(parts) + (f", and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class CellCompletion:
    """The artifacts of a completed cell, by stage in order. Some may have been removed since.

    Attributes:
        setting: device and draw; see `lineage.uses.cell_setting`.
    """

    setting: str
    artifacts: Mapping[str, Artifact]


def _completions(uses: list[Use], store: Store) -> Iterator[CellCompletion]:
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


def _out_of_date(cell: Cell, completion: CellCompletion) -> dict[str, list[str]]:
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
    yield from identity_changes(STAGES[name], STAGES[name].declare(cell), artifact.manifest)
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
