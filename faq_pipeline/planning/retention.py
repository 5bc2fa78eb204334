"""Which artifacts can go without anybody missing them.

An artifact stays if
- a cell's plan names it as families, recipes and this device stand now;
- a recorded use names it, and is the newest of its cell, stage, device and draw;
- a recorded use by a cell that cannot be resolved now names it, however old: what replaces it
  cannot be told while its recipe is broken, or its weights or their revision are absent;
- one of these was made from it;
- it is a comparison, and the member's current one, or one of reports that another device or
  revision made and that stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from faq_pipeline.execution.recipe_comparison import NAME as COMPARISON
from faq_pipeline.execution.recipe_comparison import Evaluated, comparison_key
from faq_pipeline.lineage.uses import Use, read_uses
from faq_pipeline.planning.cell_plan import CellPlan, cell_plans
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact


def unused_artifacts(settings: Settings) -> list[Artifact]:
    """The artifacts that can go, by stage and fingerprint."""
    there = {artifact.path.name: artifact for artifact in settings.store.artifacts()}
    states = list(cell_plans(settings))
    planned = {p.artifact.path.name for state in states for p in state.planned.values() if p.artifact}
    resolved = {f"{state.member}|{state.recipe}" for state in states if state.cell is not None}
    kept = _with_inputs(planned | _in_use(read_uses(settings.store), resolved), there)
    kept |= _current_comparisons(settings, states)
    kept |= {name for name, one in there.items() if _of_elsewhere(one, planned, kept)}
    return [artifact for name, artifact in there.items() if name not in kept]


def _in_use(uses: Iterable[Use], resolved: set[str]) -> set[str]:
    newest: dict[tuple[str, str, str], str] = {}
    kept = set()
    for use in uses:  # oldest first
        if use.partition in resolved:
            newest[use.partition, use.stage, use.setting] = use.fingerprint
        else:
            kept.add(use.fingerprint)
    return kept | set(newest.values())


def _with_inputs(names: set[str], there: Mapping[str, Artifact]) -> set[str]:
    """The artifacts of those names and all that they were made from."""
    found: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in found and name in there:
            found.add(name)
            queue.extend(there[name].manifest.upstream.values())
    return found


def _current_comparisons(settings: Settings, states: Iterable[CellPlan]) -> set[str]:
    members: dict[str, dict[str, Evaluated]] = {}
    for state in states:
        if state.cell is not None and (one := Evaluated.of(state.planned)) is not None:
            members.setdefault(state.member, {})[state.recipe] = one
    return {comparison_key(settings, found).fingerprint for found in members.values()}


def _of_elsewhere(artifact: Artifact, planned: set[str], kept: set[str]) -> bool:
    """Whether it is a comparison of reports that stay, though none is planned here and now."""
    reports = set(artifact.manifest.upstream.values())
    return artifact.path.parent.name == COMPARISON and reports <= kept and not reports <= planned
