"""Find the artifacts that are not used any more and can be deleted.

An artifact is kept if

- it is in the plan of a cell, with the current families, recipes and device;
- it is the newest recorded use of its cell, stage, device and draw;
- it is a recorded use of any age by a cell that cannot be resolved now. While the cell's recipe is
  broken, or its weights or their revision are missing, it is unknown what replaces the artifact;
- a recorded use of it is damaged, so that it is unknown whether a later use replaced it;
- an artifact kept by these rules was made from it; or
- it is the current comparison of a member, or a comparison of kept reports from another device or
  revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from faq_pipeline.execution.recipe_comparison import NAME as COMPARISON
from faq_pipeline.execution.recipe_comparison import Evaluated, comparison_key
from faq_pipeline.lineage.uses import Use, damaged_uses, read_uses
from faq_pipeline.planning.cell_plan import CellPlan, cell_plans
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact


def unused_artifacts(settings: Settings) -> list[Artifact]:
    """The artifacts that can be deleted, in order of stage and fingerprint."""
    stored = {artifact.path.name: artifact for artifact in settings.store.artifacts()}
    states = list(cell_plans(settings))
    planned = {p.artifact.path.name for state in states for p in state.planned.values() if p.artifact}
    resolved = {f"{state.member}|{state.recipe}" for state in states if state.cell is not None}
    used = _in_use(read_uses(settings.store), resolved) | damaged_uses(settings.store)
    kept = _with_inputs(planned | used, stored)
    kept |= _current_comparisons(settings, states)
    kept |= {name for name, artifact in stored.items() if _is_kept_comparison(artifact, planned, kept)}
    return [artifact for name, artifact in stored.items() if name not in kept]


def _in_use(uses: Iterable[Use], resolved: set[str]) -> set[str]:
    newest: dict[tuple[str, str, str], str] = {}
    kept = set()
    for use in uses:  # oldest first
        if use.partition in resolved:
            newest[use.partition, use.stage, use.setting] = use.fingerprint
        else:
            kept.add(use.fingerprint)
    return kept | set(newest.values())


def _with_inputs(names: set[str], stored: Mapping[str, Artifact]) -> set[str]:
    """The named artifacts and all their direct and indirect inputs."""
    found: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in found and name in stored:
            found.add(name)
            queue.extend(stored[name].manifest.upstream.values())
    return found


def _current_comparisons(settings: Settings, states: Iterable[CellPlan]) -> set[str]:
    members: dict[str, dict[str, Evaluated]] = {}
    for state in states:
        if state.cell is not None and (evaluated := Evaluated.of(state.planned)) is not None:
            members.setdefault(state.member, {})[state.recipe] = evaluated
    return {comparison_key(settings, found).fingerprint for found in members.values()}


def _is_kept_comparison(artifact: Artifact, planned: set[str], kept: set[str]) -> bool:
    """Whether it is a comparison of kept reports of which some are not in a current plan."""
    reports = set(artifact.manifest.upstream.values())
    return artifact.path.parent.name == COMPARISON and reports <= kept and not reports <= planned
