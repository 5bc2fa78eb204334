"""What Dagster loads, without running it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from faq_pipeline.definitions import build_defs, build_study_defs
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.orchestration.assets.metadata import figures
from faq_pipeline.orchestration.assets.plots import by_layer
from faq_pipeline.settings import REPOSITORY


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs()


def test_loading_the_definitions_loads_no_model_library() -> None:
    code = (
        "import sys, faq_pipeline.definitions\n"
        "heavy = {'torch', 'transformers', 'vllm', 'llmcompressor', 'lm_eval', 'datasets', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_definitions_are_built_when_they_are_first_asked_for_and_once(tmp_path: Path) -> None:
    code = (
        "import faq_pipeline.orchestration.runs, faq_pipeline.definitions as door\n"
        "from faq_pipeline.errors import FaqError\n"
        "import os\n"
        "try: door.defs\n"
        "except FaqError as error: print(error.problem)\n"
        "os.environ['FAQ_DATA'] = ''\n"
        "print(door.defs is door.defs, 'defs' in dir(door))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "FAQ_HOME": str(tmp_path / "home"), "FAQ_DATA": str(tmp_path / "gone")},
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{tmp_path / 'gone'} is no folder", "True True"]


def test_the_graph_is_the_stages_inputs(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for stage in STAGES.values():
        parents = {key.to_user_string() for key in graph.get(dg.AssetKey(stage.name)).parent_keys}
        assert parents == set(stage.inputs)
    assert dg.AssetKey("recipe_comparison") in graph.get_all_asset_keys()


def test_model_stages_carry_the_gpu_tags_and_pool(definitions: dg.Definitions) -> None:
    loads_a_model = set(STAGES) - {"seed_data"}
    for stage in STAGES:
        asset = definitions.resolve_assets_def(stage)
        tagged = asset.op.tags.get("faq/device") == "gpu"
        assert tagged == (stage in loads_a_model)
        assert (asset.op.pool == "gpu") == tagged


def test_publication_is_no_part_of_quantizing_and_needs_no_gpu(definitions: dg.Definitions) -> None:
    def nodes(job: str) -> set[str]:
        return {node.name for node in definitions.resolve_job_def(job).nodes}

    publication = {"publication_review", "published_checkpoint"}
    assert nodes("quantize") == set(STAGES)
    assert nodes("requantize") == {*STAGES, *publication}
    assert nodes("publish") == publication
    assert nodes("compare") == {"recipe_comparison"}
    for name in publication:
        asset = definitions.resolve_assets_def(name)
        assert asset.op.tags["faq/device"] == "cpu" and asset.op.pool is None
    (gate,) = definitions.resolve_assets_def("publication_review").check_specs
    assert gate.name == "publication_gate" and gate.blocking


def test_a_study_is_a_partition_of_a_code_location_of_its_own(definitions: dg.Definitions) -> None:
    names = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert names == {*STAGES, "publication_review", "published_checkpoint", "recipe_comparison"}
    definitions = build_study_defs()
    cells = definitions.resolve_assets_def("study_cells")
    assert cells.partitions_def is not None
    assert {"main", "smoke"} <= set(cells.partitions_def.get_partition_keys())
    assert cells.op.pool == "gpu"
    job = definitions.resolve_job_def("study")
    assert {node.name for node in job.nodes} == {"study_cells", "study_report"}


@pytest.mark.parametrize("layers", [1, 24, 49, 126])
def test_the_plot_by_layer_is_small_enough_for_the_ui_to_show_it_in_place(layers: int) -> None:
    plot = by_layer({n: 1e-4 * 1.1**n for n in range(layers)})
    assert "svg" in str(plot.value) and len(str(plot.value)) < 1000


def test_the_ui_shows_figures_under_names_that_explain_themselves() -> None:
    shown = figures({"bytes_repeat": True, "shortfall": 12, "tokens": 372, "work": {"tokens": 1}})
    assert shown == {"same_samples_if_run_again": True, "tokens_below_budget": 12, "tokens": 372}


def test_the_ui_shows_divergences_under_the_names_and_in_the_unit_of_the_reports() -> None:
    kl = {"value": 0.0123, "low": 0.01, "high": 0.02}
    shown = figures({"kl": kl, "kl_prose": {"value": 0.5, "low": None, "high": None}, "verdict": "better"})
    assert shown == {
        "verdict": "better",
        "kl_on_tasks_1e-3_nats": "12.30 [10.00, 20.00]",
        "kl_on_prose_1e-3_nats": "500.00",
    }
    assert figures({"kl": None, "kl_prose": None}) == {}
