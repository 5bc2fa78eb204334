"""`recipe_comparison`: all recipes of a member that are evaluated, beside each other.

Not a stage of a cell: its inputs are as many eval reports as there are.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from faq_pipeline.errors import FaqError
from faq_pipeline.resolve import resolve_cell
from faq_pipeline.runner import Outcome, plan
from faq_pipeline.settings import Settings
from faq_pipeline.stage import Stage
from faq_pipeline.stages import STAGES
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.store.store import Key, Store

NAME, VERSION = "recipe_comparison", 1
RESULT = "comparison.json"


def compare_member(settings: Settings, member: str) -> Outcome:
    """The comparison of all evaluated recipes of `member`, made anew only if a report changed.

    Raises:
        FaqError: no recipe of the member is evaluated yet.
    """
    from faq_pipeline.evaluation.comparison import unfair_baselines

    started = time.perf_counter()
    reports = evaluated(settings, member)
    if not reports:
        raise FaqError(f"no recipe of {member!r} is evaluated yet", mend=f"faq run --member {member}")
    baselines = {name: list(settings.catalog.recipe(name).baselines) for name in reports}
    digests = {name: report.digest for name, report in reports.items()}
    unfair = unfair_baselines({name: settings.catalog.recipe(name) for name in reports})
    identity = {
        "baselines": baselines,
        "unfair": sorted([*pair, reason] for pair, reason in unfair.items()),
    }
    key = Key(
        NAME,
        VERSION,
        fingerprint(NAME, VERSION, identity, digests),
        identity,
        digests,
        {name: report.fingerprint for name, report in reports.items()},
    )
    artifact, hit = settings.store.produce(key, lambda folder: _build(reports, baselines, unfair, folder))
    stage = Stage(NAME, VERSION, ("eval_report",), lambda cell: {}, lambda build: {})
    return Outcome(stage, artifact, hit, time.perf_counter() - started)


def evaluated(settings: Settings, member: str) -> dict[str, Artifact]:
    """The current eval report of every recipe of the member that has one, by recipe."""
    catalog = settings.catalog
    family, _ = catalog.member(member.partition("@")[0])
    reports: dict[str, Artifact] = {}
    for recipe in catalog.recipes.values():
        if family.name not in recipe.families:
            continue
        try:
            cell = resolve_cell(catalog, member, recipe, settings.device, settings.digests)
        except FaqError:
            continue  # a recipe that this member cannot have (no larger teacher, say) has no report
        report = plan(cell, STAGES, settings.store)["eval_report"].artifact
        if report is not None:
            reports[recipe.name] = report
    return reports


def read_comparison(store: Store, fingerprint: str) -> dict[str, Any]:
    """A comparison as JSON-able data."""
    artifact = store.get(NAME, fingerprint)
    if artifact is None:
        raise FaqError(f"no comparison {fingerprint}", mend="faq compare")
    content: dict[str, Any] = json.loads(artifact.file(RESULT).read_text(encoding="utf-8"))
    return content


def _build(
    reports: dict[str, Artifact],
    baselines: dict[str, list[str]],
    unfair: dict[tuple[str, str], str],
    folder: Path,
) -> dict[str, Any]:
    from faq_pipeline.evaluation.comparison import compare

    comparison = compare(reports, baselines, unfair)
    content = json.dumps(comparison.as_dict(), indent=1, sort_keys=True)
    (folder / RESULT).write_text(content + "\n", encoding="utf-8")
    (folder / "comparison.md").write_text(comparison.markdown(), encoding="utf-8")
    return {"recipes": len(reports)}
