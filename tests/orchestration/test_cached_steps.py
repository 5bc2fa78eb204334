"""Which steps of a run need no slot, since their artifacts are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.recipe_comparison import NAME as COMPARISON
from faq_pipeline.orchestration.cached_steps import PARTITION, STUDY_CELLS, CachedSteps
from faq_pipeline.study.design.cells import resolve_study
from faq_pipeline.study.execution.results import Result, write_result
from tests.site import Site, make_site
from tests.study.tiny_study import write_study


@pytest.fixture
def site(tiny_data: Path, tmp_path: Path) -> Site:
    return make_site(tmp_path, tiny_data)


def steps(site: Site, partition: str, **pipeline: Any) -> CachedSteps:
    """Those of a run, with a configuration of its resource."""
    config = {"resources": {"pipeline": {"config": pipeline}}} if pipeline else {}
    run = dg.DagsterRun(job_name="quantize", run_config=config, tags={PARTITION: partition})
    return CachedSteps.of_run(site.settings, run)


def test_what_is_made_while_a_run_goes_on_is_cached_from_then_on(site: Site) -> None:
    partition = site.cell("tiny-s", "tiny-faq").partition
    cached = steps(site, partition)
    assert not any(stage in cached for stage in STAGES)
    site.make("tiny-s", "tiny-faq", until="calibration_set")
    assert "calibration_set" in cached and "quantized_checkpoint" not in cached
    site.make("tiny-s", "tiny-faq")
    assert all(stage in cached for stage in STAGES)
    assert COMPARISON in steps(site, partition.partition("|")[0])


def test_a_run_with_a_configuration_of_its_own_hits_what_is_there_for_it(site: Site, tmp_path: Path) -> None:
    """Another home in the launchpad: what counts is there, not in the home of the definitions."""
    partition = site.make("tiny-s", "tiny-faq").partition
    assert "eval_report" in steps(site, partition, device="cpu")
    assert "eval_report" not in steps(site, partition, home=str(tmp_path / "elsewhere"))
    assert "eval_report" in steps(site, partition, home=str(site.settings.home))
    assert "eval_report" not in steps(site, partition, home={"env": "HOME_OF_A_STEP"})


@pytest.mark.parametrize("partition", ["nobody@00000000|tiny-faq", "tiny-s|no-recipe", ""])
def test_of_a_cell_that_is_not_known_nothing_is_cached(site: Site, partition: str) -> None:
    assert not any(stage in steps(site, partition) for stage in STAGES)


def test_a_study_whose_cells_are_all_finished_is_cached(site: Site) -> None:
    site.make("tiny-s", "tiny-faq")
    settings = site.settings
    (made,) = settings.store.artifacts("eval_report")
    write_study(site.data)
    cached = steps(site, "trial")
    first, *others = resolve_study(site.settings.catalog, "trial", "cpu", settings.digests).cells
    for cell in (*others, first):
        assert STUDY_CELLS not in cached
        artifacts = {"eval_report": made.fingerprint}
        done = Result(id=cell.id, declared=cell.declared, judged=cell.judged, artifacts=artifacts)
        write_result(settings.store, "trial", done)
    assert STUDY_CELLS in cached
