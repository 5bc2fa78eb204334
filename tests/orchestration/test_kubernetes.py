"""What is said to Kubernetes: every tag, read by dagster-k8s itself. A typo would show at launch only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from dagster_k8s.job import get_user_defined_k8s_config

from faq_pipeline.config.family import Serving
from faq_pipeline.core.cell import Cell
from faq_pipeline.definitions import build_defs, build_study_defs
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.models.weights import Weights
from faq_pipeline.orchestration.automation.requests import run_request
from faq_pipeline.orchestration.tags import GPU, k8s_tags

TAG = "dagster-k8s/config"


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs()


def every_tag(definitions: dg.Definitions) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Tags of all ops and jobs that say something to Kubernetes, with whose they are."""
    repository = definitions.get_repository_def()
    for job in repository.get_all_jobs():
        yield f"job {job.name}", {**job.tags, **job.run_tags}
        for node in job.nodes:
            yield f"{node.name} in {job.name}", {**node.definition.tags, **node.tags}


def container(tags: Mapping[str, str]) -> dict[str, Any]:
    """The container's part of the tags, as dagster-k8s reads them; nothing else is in them."""
    config = get_user_defined_k8s_config(dict(tags))
    assert not config.pod_spec_config and not config.job_config and not config.job_spec_config
    return dict(config.container_config)


def test_every_tag_of_the_definitions_is_read(definitions: dg.Definitions) -> None:
    every = (one for both in (definitions, build_study_defs()) for one in every_tag(both))
    found = {whose: container(tags) for whose, tags in every}
    asking = {whose.split(" ")[0] for whose, config in found.items() if config}
    assert asking == {stage.name for stage in STAGES.values() if stage.gpus is not None} | {"study_cells"}
    assert {json.dumps(config) for config in found.values() if config} == {
        '{"resources": {"limits": {"nvidia.com/gpu": "1"}}}'
    }


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("container_config", "container_confg"),
        ("resources", "resorces"),
        ("limits", "limit"),
    ],
)
def test_a_typo_in_a_tag_is_found(right: str, wrong: str) -> None:
    tags = {TAG: json.dumps(GPU[TAG])}
    assert container(tags) == {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    assert right in tags[TAG]
    with pytest.raises(Exception, match=wrong):  # dagster-k8s has no class of its own for it
        container({TAG: tags[TAG].replace(f'"{right}"', f'"{wrong}"')})


def engines(cell: Cell, regeneration: str, evaluation: str) -> Cell:
    recipe = cell.recipe
    return cell.with_recipe(
        recipe.model_copy(
            update={
                "regeneration": recipe.regeneration.model_copy(update={"engine": regeneration}),
                "evaluation": recipe.evaluation.model_copy(update={"engine": evaluation}),
            }
        )
    )


def served(weights: Weights | None, parameters: int, **serving: int) -> Weights:
    assert weights is not None
    changes = {"parameters": parameters, "serving": Serving.model_validate(serving)}
    return replace(weights, member=weights.member.model_copy(update=changes))


def test_a_run_asks_for_the_gpus_and_the_memory_of_its_members(tiny_cell: Cell) -> None:
    """A target of 8 G parameters on 2 GPUs, a teacher of 32 G on 4, each where vLLM serves it."""
    cell = replace(
        tiny_cell,
        target=served(tiny_cell.target, 8_000_000_000, tensor_parallel=2),
        teacher=served(tiny_cell.teacher, 32_000_000_000, tensor_parallel=2, data_parallel=2),
    )

    def asked(regeneration: str, evaluation: str) -> tuple[str, str]:
        resources = container(k8s_tags(engines(cell, regeneration, evaluation)))["resources"]
        return resources["limits"]["nvidia.com/gpu"], resources["requests"]["memory"]

    large, small = f"{4 * 1024 + 76294}Mi", f"{4 * 1024 + 19074}Mi"
    assert asked("transformers", "transformers") == ("1", large)
    assert asked("vllm", "vllm") == ("4", large)
    assert asked("transformers", "vllm") == ("2", large)
    assert asked("endpoint", "vllm") == ("2", small)
    assert asked("endpoint", "transformers") == ("1", small)
    both = k8s_tags(engines(cell, "endpoint", "vllm"), engines(cell, "vllm", "transformers"))
    assert container(both)["resources"]["limits"] == {"nvidia.com/gpu": "4"}


def test_every_run_that_is_asked_for_carries_them(tiny_cell: Cell) -> None:
    tags = run_request(tiny_cell, "a test").tags
    assert tags.keys() >= {TAG, "faq/declared", "faq/reason"}
    assert {key: tags[key] for key in k8s_tags(tiny_cell)} == k8s_tags(tiny_cell)
    assert container(tags)["resources"]["limits"] == {"nvidia.com/gpu": "1"}
