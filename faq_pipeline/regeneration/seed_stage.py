"""The stage `seed_data`: the seeds that a recipe's draw takes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.models import hub
from faq_pipeline.regeneration.checks import SEED_CHECKS
from faq_pipeline.regeneration.cost import seed_work
from faq_pipeline.regeneration.seeds import (
    draw_seeds,
    load_dataset_seeds,
    load_seeds,
    seeds_identity,
)
from faq_pipeline.store.records import Seed
from faq_pipeline.store.tables import write_rows


def _identity(cell: Cell) -> dict[str, Any]:
    return {"seeds": seeds_identity(cell.recipe.seeds), "draw": cell.recipe.draw}


def _build(build: Build) -> dict[str, Any]:
    wanted = build.cell.recipe.seeds
    if wanted.path is not None:
        known = load_seeds(wanted.path, wanted.count)
    else:
        assert wanted.dataset is not None
        known = load_dataset_seeds(wanted.dataset, wanted.count)
    drawn = draw_seeds(known, wanted.count, build.cell.recipe.draw)
    write_rows(build.directory / "seeds.parquet", drawn, Seed)
    return {
        "seeds": len(drawn),
        "known": len(known),
        "domains": dict(sorted(Counter(seed.domain for seed in drawn).items())),
        "kinds": dict(sorted(Counter(str(seed.kind) for seed in drawn).items())),
        "licences": sorted({seed.licence for seed in drawn}),
    }


def _preflight(cell: Cell) -> None:
    """The seed file is well-formed and has enough seeds."""
    seeds = cell.recipe.seeds
    if seeds.path is not None:
        load_seeds(seeds.path, seeds.count)


def _preflight_missing(cell: Cell) -> None:
    """The dataset's repository answers."""
    if cell.recipe.seeds.dataset is not None:
        hub.check_dataset(cell.recipe.seeds.dataset)


SEED_DATA = Stage(
    name=stage_names.SEED_DATA,
    version=1,
    inputs=(),
    identity=_identity,
    build=_build,
    work=seed_work,
    labels={"seeds.digest": "seed file {seeds.file}"},
    checks=SEED_CHECKS,
    preflight=_preflight,
    preflight_missing=_preflight_missing,
)
