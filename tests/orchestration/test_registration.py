"""Which members and cells are Dagster partitions, as families and recipes come and go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance

from faq_pipeline.errors import FaqError
from faq_pipeline.orchestration.automation.registration import register
from faq_pipeline.orchestration.jobs import COMPARE, QUANTIZE
from faq_pipeline.orchestration.known_partitions import known_partitions
from faq_pipeline.orchestration.partitions import CELLS, MEMBERS, split
from faq_pipeline.orchestration.resources import ProgressResource
from faq_pipeline.orchestration.runs import Runs
from faq_pipeline.settings import REPOSITORY, Settings

MORE = "name: tiny-more\nextends: tiny-original\ntitle: More\n"


@pytest.fixture
def settings(pipeline_data: Path, tmp_path: Path) -> Settings:
    data = Path(shutil.copytree(pipeline_data, tmp_path / "data"))
    return Settings(tmp_path / "home", (REPOSITORY / "data", data), "cpu")


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


def tick(instance: DagsterInstance, settings: Settings) -> dict[str, list[str]]:
    """What a tick of the sensor asks for, done as the daemon does it."""
    result = register(dg.build_sensor_context(instance=instance), settings.reread())
    if isinstance(result, dg.SkipReason):
        return {}
    assert not result.run_requests
    asked = list(result.dynamic_partitions_requests or [])
    for request in asked:
        assert isinstance(request, dg.AddDynamicPartitionsRequest)
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return {request.partitions_def_name: list(request.partition_keys) for request in asked}


def keys(instance: DagsterInstance, definition: Any) -> set[str]:
    return set(instance.get_dynamic_partitions(str(definition.name)))


def test_the_sensor_adds_exactly_what_is_known_and_then_skips(
    settings: Settings, instance: DagsterInstance
) -> None:
    known = known_partitions(settings)
    assert {"tiny-s", "tiny-l", "kin-4m"} <= {key.partition("@")[0] for key in known.members}
    instance.add_dynamic_partitions(str(MEMBERS.name), [known.members[0]])
    assert tick(instance, settings) == {MEMBERS.name: known.members[1:], CELLS.name: known.cells}
    assert tick(instance, settings) == {}
    assert keys(instance, MEMBERS) == set(known.members) and keys(instance, CELLS) == set(known.cells)


def test_only_cells_that_can_exist_are_partitions(settings: Settings) -> None:
    """A recipe is for some families, and the largest member of a family has no larger teacher."""
    cells = {f"{key.partition('@')[0]}|{split(key)[1]}" for key in known_partitions(settings).cells}
    assert {"tiny-s|tiny-faq", "tiny-l|tiny-original", "kin-4m|faq-gptq-w3a16"} <= cells
    assert not {"tiny-s|faq-gptq-w3a16", "kin-4m|tiny-faq", "tiny-l|tiny-faq"} & cells
    for member, recipe in map(split, cells):
        family, _ = settings.catalog.member(member)
        assert family.name in settings.catalog.recipe(recipe).families


@pytest.mark.parametrize("lost", ["recipe", "edited recipe", "weights", "data folder"])
def test_a_cell_that_is_unknown_to_the_sensor_stays_for_the_process_that_runs_it(
    settings: Settings, instance: DagsterInstance, lost: str
) -> None:
    data = settings.data[-1]
    file = data / "recipes/tiny-more.yaml"
    file.write_text(MORE)
    tick(instance, settings)
    before = keys(instance, CELLS)
    assert "tiny-more" in {split(key)[1] for key in before}
    if lost == "recipe":
        file.unlink()
    elif lost == "edited recipe":
        file.write_text(MORE.replace("tiny-original", "nothing"))
    elif lost == "weights":
        (data / "models").rename(data / "elsewhere")
    else:
        settings = replace(settings, data=settings.data[:-1])
    assert set(known_partitions(settings.reread()).cells) < before
    assert tick(instance, settings) == {} and keys(instance, CELLS) == before


@pytest.mark.parametrize(
    ("job", "partition", "asset"),
    [
        (QUANTIZE, "tiny-s@00000000|tiny-faq", "eval_report"),
        (COMPARE, "tiny-s@00000000", "recipe_comparison"),
    ],
)
def test_a_run_registers_its_partition_where_somebody_has_deleted_it(
    settings: Settings, instance: DagsterInstance, job: str, partition: str, asset: str
) -> None:
    with pytest.raises(FaqError, match="tiny-s@00000000"):  # of a step, not of Dagster's partitions
        Runs(settings, instance, ProgressResource()).execute(job, partition, asset)
    assert partition in {*keys(instance, CELLS), *keys(instance, MEMBERS)}


def test_a_home_of_an_earlier_version_shows_what_it_has_made(
    settings: Settings, instance: DagsterInstance
) -> None:
    """Its partitions were products of members and recipes: it has members, and materializations of cells."""
    old = "tiny-s@00000000|gone"
    instance.add_dynamic_partitions(str(MEMBERS.name), ["tiny-s@00000000"])
    with_dimensions = dg.MultiPartitionKey({"member": "tiny-s@00000000", "recipe": "gone"})
    for partition in (with_dimensions, "main"):  # the latter is a study's
        instance.report_runless_asset_event(dg.AssetMaterialization("seed_data", partition=partition))
    tick(instance, settings)
    assert keys(instance, CELLS) == {*known_partitions(settings).cells, old}
    assert tick(instance, settings) == {}
