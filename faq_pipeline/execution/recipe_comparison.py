"""`recipe_comparison`: compares all evaluated recipes of a member.

Not a stage of a cell: its inputs are as many eval reports as there are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faq_pipeline.core import stage_names
from faq_pipeline.core.stage import Stage
from faq_pipeline.errors import FaqError, ReadError
from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import Outcome, PlannedStage, plan
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.store.store import Key, Store
from faq_pipeline.util.memoize import memoizing

NAME, VERSION = "recipe_comparison", 4
RESULT = "comparison.json"


@dataclass(frozen=True)
class Evaluated:
    """A recipe's eval report, and the tokens of the calibration set behind it (None: without one)."""

    report: Artifact
    tokens: int | None

    @classmethod
    def of(cls, planned: Mapping[str, PlannedStage]) -> Evaluated | None:
        """What a cell's plan says of it, None where it is not evaluated yet."""
        report = planned[stage_names.EVAL_REPORT].artifact
        if report is None:
            return None
        checkpoint, calibration = (
            planned[stage_names.QUANTIZED_CHECKPOINT].key,
            planned[stage_names.CALIBRATION_SET].artifact,
        )
        looked_at = checkpoint is not None and stage_names.CALIBRATION_SET in checkpoint.upstream
        return cls(report, calibration.metadata["tokens"] if looked_at and calibration else None)


def compare_member(settings: Settings, member: str, cells: CellResolver | None = None) -> Outcome:
    """The comparison of all evaluated recipes of `member`, made anew only if a report changed.

    Args:
        cells: where the caller has resolved some of the cells already.

    Raises:
        FaqError: no recipe of the member is evaluated yet.
    """
    started = time.perf_counter()
    found = evaluated(settings, member, cells)
    if not found:
        raise FaqError(f"no recipe of {member!r} is evaluated yet", hint=f"faq run --member {member}")
    key = comparison_key(settings, found)
    reports = {name: one.report for name, one in found.items()}
    artifact, hit = settings.store.produce(key, lambda folder: _build(reports, key.identity, folder))
    stage = Stage(NAME, VERSION, (stage_names.EVAL_REPORT,), lambda cell: {}, lambda build: {})
    return Outcome(stage, artifact, hit, time.perf_counter() - started)


def comparison_key(settings: Settings, found: Mapping[str, Evaluated]) -> Key:
    """The key of the comparison of these recipes."""
    from faq_pipeline.evaluation.comparison import one_original, unfair_baselines

    recipes = {name: settings.catalog.recipe(name) for name in found}
    unfair = unfair_baselines(recipes, {name: one.tokens for name, one in found.items()})
    remarks = {
        name: one_original(settings.catalog.recipe(base) for base in recipe.baselines)
        for name, recipe in recipes.items()
    }
    identity = {
        "baselines": {name: list(recipe.baselines) for name, recipe in recipes.items()},
        "unfair": sorted([*pair, reason] for pair, reason in unfair.items()),
        "remarks": {name: remark for name, remark in remarks.items() if remark},
    }
    digests = {name: one.report.digest for name, one in found.items()}
    return Key(
        NAME,
        VERSION,
        fingerprint(NAME, VERSION, identity, digests),
        identity,
        digests,
        {name: one.report.fingerprint for name, one in found.items()},
    )


def evaluated(settings: Settings, member: str, cells: CellResolver | None = None) -> dict[str, Evaluated]:
    """The recipes of the member that have a current eval report, by name.

    Raises:
        ReadError: it cannot be told now of one whether it has.
    """
    catalog, cells = settings.catalog, cells or CellResolver(settings)
    family, _ = catalog.member(member.partition("@")[0])
    found: dict[str, Evaluated] = {}
    with memoizing():
        for recipe in catalog.recipes.values():
            if family.name not in recipe.families:
                continue
            try:
                one = Evaluated.of(plan(cells.cell(member, recipe.name), STAGES, settings.store))
            except ReadError:
                raise
            except FaqError:
                continue  # a recipe that this member cannot have (no larger teacher, say) has no report
            if one is not None:
                found[recipe.name] = one
    return found


def read_comparison(store: Store, fingerprint: str) -> dict[str, Any]:
    """A comparison as JSON-able data."""
    artifact = store.get(NAME, fingerprint)
    if artifact is None:
        raise FaqError(f"no comparison {fingerprint}", hint="faq compare")
    content: dict[str, Any] = json.loads(artifact.file(RESULT).read_text(encoding="utf-8"))
    return content


def _build(reports: Mapping[str, Artifact], identity: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    from faq_pipeline.evaluation.comparison import compare

    unfair = {(recipe, baseline): reason for recipe, baseline, reason in identity["unfair"]}
    comparison = compare(reports, identity["baselines"], unfair, identity["remarks"])
    content = json.dumps(comparison.as_dict(), indent=1, sort_keys=True)
    (folder / RESULT).write_text(content + "\n", encoding="utf-8")
    (folder / "comparison.md").write_text(comparison.markdown(), encoding="utf-8")
    return {"recipes": len(reports)}
