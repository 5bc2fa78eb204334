"""The job `requantize` on real cells: from seed to a published checkpoint, or to a gate that holds.

The module's first run makes everything with planted secrets in the environment: a teacher behind an
endpoint with a key, a token that reads from the hub, and one that may write to it.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from huggingface_hub import ModelCard

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.recipe_comparison import RESULT, compare_member, comparison_key, evaluated
from faq_pipeline.models.loading import load_folder
from faq_pipeline.orchestration.assets import published_checkpoint
from faq_pipeline.orchestration.jobs import PUBLISH, REQUANTIZE
from faq_pipeline.orchestration.partitions import CELLS, register_cells
from faq_pipeline.orchestration.resources import PipelineResource, ProgressResource
from faq_pipeline.orchestration.runs import Runs, open_instance
from faq_pipeline.publishing.card import write_card
from faq_pipeline.publishing.review import content_of, records_of, review_cell
from faq_pipeline.reporting.finished import FinishedCell
from faq_pipeline.settings import REPOSITORY, Settings
from tests.inference.fake_server import FakeServer
from tests.orchestration.conftest import Run, extended, faq  # noqa: F401
from tests.publishing.conftest import TOKEN, point_at
from tests.publishing.stub_hub import StubHub
from tests.tiny import make_family

pytestmark = pytest.mark.slow

KEY, READER = "sk-planted-teacher-51ab", "hf_planted_reader_0b52"
SECRETS = (TOKEN, READER, KEY)

PUBLISHING = """\
publish:
  licences: [apache-2.0]
  directory: ../published
  repository: "acme/{member}-{recipe}"
"""

PUBLIC = """\
name: tiny-public
extends: tiny-beside
title: FAQ for everybody
baselines: [tiny-beside]
regeneration:
  engine: endpoint
  endpoint: {base_urls: ["%s"], model: fake, key: TINY_TEACHER_KEY}
competition: {experts: {length: 1}}
quantization: {scheme: W8A16}
evaluation: {gate: {recovery: 0.1}}
"""

RUINED = """\
name: ruined
title: Two bits, rounded to nearest
families: [kin]
seeds: {path: DATA/seeds/kin-mixed.jsonl, count: 8}
regeneration: {source: original}
competition: {selection: random}
calibration: {tokens: 256, sequence_length: 128}
quantization: {method: rtn, scheme: W2A16, group_size: channel}
evaluation:
  tasks: [kin_demo]
  include: DATA/eval/kin
  limit: 16
  max_new_tokens: 64
  prose: DATA/eval/kin/prose.jsonl
  traces: 4
  gate: {recovery: 0.9}
"""


@dataclass
class World:
    """One installation, its hub and its teacher's server."""

    settings: Settings
    instance: DagsterInstance
    hub: StubHub
    teacher: FakeServer
    data: Path

    def cell(self, member: str = "tiny-s", recipe: str = "tiny-public") -> Cell:
        settings = Settings(self.settings.home, self.settings.data, "cpu")  # files as they are now
        catalog = settings.catalog
        return resolve_cell(catalog, member, catalog.recipe(recipe), "cpu", settings.digests)

    def run(self, job: str, cell: Cell, **config: Any) -> dict[str, Any]:
        register_cells(self.instance, [cell.partition])
        runs = Runs(self.settings, self.instance, ProgressResource())
        return runs.execute(job, cell.partition, "published_checkpoint", config)

    @property
    def published(self) -> Path:
        return self.data / "published/tiny-s/tiny-public"

    def events(self) -> list[dg.DagsterEvent]:
        """Of the newest run."""
        (run,) = self.instance.get_runs(limit=1)
        return [one.dagster_event for one in self.instance.all_logs(run.run_id) if one.dagster_event]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    data = extended(make_family(root / "data"))
    with (
        pytest.MonkeyPatch.context() as patch,
        StubHub(TOKEN) as hub,
        FakeServer(key=KEY) as teacher,
    ):
        with (data / "families/tiny.yaml").open("a") as file:
            file.write(PUBLISHING)
        (data / "recipes/tiny-public.yaml").write_text(PUBLIC % teacher.url)
        (data / "recipes/ruined.yaml").write_text(RUINED.replace("DATA", str(REPOSITORY / "data")))
        for name, value in {
            "FAQ_HOME": str(root / "home"),
            "FAQ_DATA": str(data),
            "FAQ_DEVICE": "cpu",
            "TINY_TEACHER_KEY": KEY,
        }.items():
            patch.setenv(name, value)
        patch.delenv("DAGSTER_HOME", raising=False)
        point_at(hub, patch)
        patch.setenv("HF_TOKEN", READER)
        patch.setenv("DAGSTER_HOME", str(root / "home/dagster"))
        settings = Settings.from_environment()
        with open_instance(settings) as instance:
            yield World(settings, instance, hub, teacher, data)


@pytest.fixture(scope="module")
def first(world: World) -> dict[str, Any]:
    """What the first run of the job published."""
    return dict(world.run(REQUANTIZE, world.cell())["publication"])


def check_of(events: list[dg.DagsterEvent]) -> Any:
    """The gate's check in a run."""
    found = [e.asset_check_evaluation_data for e in events if e.event_type_value == "ASSET_CHECK_EVALUATION"]
    (data,) = [one for one in found if one.check_name == "publication_gate"]
    return data


def materialized(events: list[dg.DagsterEvent]) -> set[str]:
    made = [e.step_materialization_data.materialization for e in events if e.is_step_materialization]
    return {one.asset_key.to_user_string() for one in made}


# --- one that passes ---


def test_a_cell_is_published_from_seed_to_hub(world: World, first: dict[str, Any]) -> None:
    assert first["published"] == "new" and [one["published"] for one in first["places"]] == ["new", "new"]
    events = world.events()
    assert {"seed_data", "eval_report", "publication_review", "published_checkpoint"} <= materialized(events)
    check = check_of(events)
    assert check.passed and check.blocking and check.metadata["why"].value == "every criterion is met"
    folder = world.published / first["digest"]
    assert world.published.joinpath("current").resolve() == folder.resolve()
    assert load_folder(folder, "cpu").config.quantization_config is not None
    repo = world.hub.repos["acme/tiny-s-tiny-public"]
    assert repo.files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert first["places"][1]["commit"] == repo.commits[-1].oid


def test_the_card_tells_what_it_is_and_how_to_use_it(world: World, first: dict[str, Any]) -> None:
    card = ModelCard.load(world.published / first["digest"] / "README.md")
    data, text = card.data.to_dict(), card.text
    assert data["license"] == "apache-2.0" and data["base_model"] == "tiny-s"
    assert data["base_model_relation"] == "quantized" and data["quantized_by"] == "faq_pipeline"
    assert "vllm serve ." in text and "| loss reduction" not in text  # no baseline is evaluated
    cell = world.cell()
    assert f"faq run --member {cell.target.partition} --recipe tiny-public" in text
    assert cell.teacher is not None and f"tiny-l, digest of its files {cell.teacher.digest}" in text
    assert "12 seeds, 48 candidates" in text and "base_urls" not in text
    statement = json.loads((world.published / first["digest"] / "publication.json").read_text())
    for stage in statement["stages"].values():
        assert stage["fingerprint"] in text and stage["digest"] in text
    for criterion in statement["verdict"]["criteria"]:
        assert criterion["found"] in text
    assert (
        world.settings.store.verify(world.settings.store.find(statement["checkpoint"]["fingerprint"])[0])
        == []
    )


def test_the_card_has_the_loss_reduction_that_the_comparison_has(world: World, first: dict[str, Any]) -> None:
    """One is put in the comparison's place: on random weights none would be formed."""
    review, store = review_cell(world.settings, world.cell()), world.settings.store
    row = {
        "recipe": "tiny-public",
        "loss_reduction": {"value": 0.25, "low": 0.1, "high": 0.4},
        "against": [
            {
                "baseline": "tiny-beside",
                "verdict": "better",
                "difference": {"value": -0.02, "low": -0.03, "high": -0.01},
            },
        ],
        "verdict": "better",
        "remark": "",
    }

    def build(folder: Path) -> dict[str, Any]:
        (folder / RESULT).write_text(json.dumps({"recipes": [row]}))
        return {}

    store.remove(compare_member(world.settings, world.cell().target.partition).artifact)
    found = evaluated(world.settings, world.cell().target.partition)
    made, hit = store.produce(comparison_key(world.settings, found), build)
    card = content_of(world.settings, review).card
    store.remove(made)
    assert not hit
    assert "| loss reduction against tiny-beside | 0.250 [0.100, 0.400]: better |" in card


def test_the_card_follows_scheme_and_licence(world: World, first: dict[str, Any]) -> None:
    review = review_cell(world.settings, world.cell())
    cell, artifacts = review.finished.cell, review.finished.artifacts
    three = cell.recipe.quantization.model_copy(update={"scheme": "W3A16"})
    family = cell.family.model_copy(update={"licence": "Somebody's own"})
    changed = replace(cell, recipe=cell.recipe.model_copy(update={"quantization": three}), family=family)
    card = write_card(FinishedCell(changed, artifacts), review.verdict, None)
    assert "vllm serve" not in card and "vLLM has no kernel for the packed weights of W3A16" in card
    assert "AutoModelForCausalLM.from_pretrained" in card
    data = ModelCard(card).data.to_dict()
    assert (data["license"], data["license_name"]) == ("other", "somebody's own")


def test_what_is_published_knows_nothing_of_this_machine(world: World, first: dict[str, Any]) -> None:
    places = [str(path) for path in (world.settings.home, world.data, REPOSITORY)]
    for path in (world.published / first["digest"]).iterdir():
        text = path.read_bytes().decode(errors="replace")
        assert not [word for word in (*places, world.teacher.url) if word in text], path.name
        if path.suffix != ".safetensors":  # a host may have a short name
            assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text), path.name


def test_a_second_run_publishes_nothing(world: World, first: dict[str, Any]) -> None:
    asked = len(world.hub.asked)
    again = world.run(REQUANTIZE, world.cell())
    assert again["published"] == "already" and again["publication"]["digest"] == first["digest"]
    assert len(world.hub.asked) == asked
    assert len(records_of(world.settings).read(first["digest"], "").events) == 2


def test_a_hub_that_refuses_fails_the_run(world: World, first: dict[str, Any]) -> None:
    """Here for the secrets that it repeats, and that must not be logged."""
    cell = world.cell()
    world.hub.fault = lambda method, path: 403 if path == "/api/repos/create" else None
    with pytest.raises(FaqError, match="403 Forbidden"):
        world.run(PUBLISH, cell, again=True)
    world.hub.fault = lambda method, path: None
    (run,) = world.instance.get_runs(limit=1)
    assert run.status == DagsterRunStatus.FAILURE


def test_secrets_are_nowhere(world: World, first: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    asked = {given for _, _, given in world.hub.asked if given}
    assert asked == {f"Bearer {TOKEN}"}  # it was really used, and the reader's never
    assert {one.authorization for one in world.teacher.asked} == {f"Bearer {KEY}"}
    found = [path for path in world.settings.home.parent.rglob("*") if path.is_file()]
    names = {path.suffix for path in found}
    assert {".json", ".parquet", ".db", ".duckdb", ".jsonl", ".md"} <= names
    for path in found:
        data = path.read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in data], path
    for run in world.instance.get_runs():
        told = repr((run.run_config, run.tags)) + "".join(map(repr, world.instance.all_logs(run.run_id)))
        assert not [secret for secret in SECRETS if secret in told]


# --- by hand ---


@pytest.fixture
def here(world: World, first: dict[str, Any], faq: Run) -> Any:  # noqa: F811
    """`faq` in the world's home."""
    return lambda *arguments: faq(world.data, *arguments, home=world.settings.home)


PUBLISH_IT = ("publish", "--member", "tiny-s", "--recipe", "tiny-public")


def test_by_hand_it_is_published_withdrawn_and_published_again(world: World, here: Any) -> None:
    shown = here(*PUBLISH_IT, "--dry-run")
    assert shown.code == 0 and "# tiny-s, W8A16: FAQ for everybody" in shown.out and "no leaks" in shown.out
    done = here(*PUBLISH_IT)
    assert done.code == 0 and done.out.count("already published  ") == 2
    (row, other) = json.loads(here("published", "--json").out)["published"]
    assert (row["status"], other["status"]) == ("current", "published") and other["commit"]
    assert (
        here("withdraw", row["fingerprint"][:8], "--reason", "loses too much").out.count("withdrawn  ") == 2
    )
    refused = here(*PUBLISH_IT)
    assert refused.mistake.startswith(f"checkpoint {row['digest']} was withdrawn: loses too much")
    listed = here("published").out
    assert "loses too much" in listed and "withdrawn" in listed
    # Nobody but a person brings it back: the job asks, and is told.
    cell = world.cell()
    assert world.run(PUBLISH, cell)["published"] == "withdrawn"
    assert not (world.published / row["digest"]).exists()
    brought = json.loads(here(*PUBLISH_IT, "--again", "--json").out)
    assert brought["published"] == "new" and [one["published"] for one in brought["places"]] == ["new", "new"]
    assert (world.published / row["digest"]).is_dir()


@pytest.mark.parametrize(("damage", "told"), [("changed", "bytes differ"), ("missing", "missing")])
def test_a_dry_run_refuses_bytes_that_were_not_judged(
    world: World, here: Any, damage: str, told: str
) -> None:
    """As what publishes does, which copies nothing of such a checkpoint."""
    weights = review_cell(world.settings, world.cell()).finished.checkpoint.file(
        "checkpoint/model.safetensors"
    )
    committed = weights.read_bytes()
    try:
        if damage == "changed":
            weights.write_bytes(committed[:-1] + bytes([committed[-1] ^ 1]))
        else:
            weights.unlink()
        for form in ((), ("--json",)):
            refused = here(*PUBLISH_IT, "--dry-run", *form).mistake
            assert refused.startswith(f"{weights}: damaged: {told}") and "faq cache gc --broken" in refused
    finally:
        weights.write_bytes(committed)
    assert here(*PUBLISH_IT, "--dry-run").code == 0


def test_a_cell_that_is_not_finished_is_sent_back(here: Any) -> None:
    assert "tiny-w8 has no " in here("publish", "--member", "tiny-s", "--recipe", "tiny-w8").mistake


def test_licences_are_judged_by_what_the_family_says_today(world: World, faq: Run, tmp_path: Path) -> None:  # noqa: F811
    """Nothing of the cell is made again for it."""
    data = Path(shutil.copytree(world.data, tmp_path / "data"))
    family = data / "families/tiny.yaml"
    family.write_text(family.read_text().replace("licences: [apache-2.0]", "licences: [MIT]"))
    told = faq(data, *PUBLISH_IT, home=world.settings.home).mistake
    assert told.startswith("check publication_gate of publication_review failed: ")
    assert (
        "licence: base Apache-2.0; teacher Apache-2.0; seeds Apache-2.0 (12); needed: each one of MIT" in told
    )
    dry = faq(data, *PUBLISH_IT, "--dry-run", "--json", home=world.settings.home)
    assert dry.code == 2 and json.loads(dry.out)["verdict"]["passed"] is False


# --- one that must not pass ---


def test_a_ruined_checkpoint_stops_at_the_gate(world: World, here: Any) -> None:
    cell = world.cell("kin-2m", "ruined")
    with pytest.raises(FaqError, match="check publication_gate of publication_review failed"):
        world.run(REQUANTIZE, cell)
    (run,) = world.instance.get_runs(limit=1)
    assert run.status == DagsterRunStatus.FAILURE
    events = world.events()
    check, why = check_of(events), check_of(events).metadata["why"].value
    assert not check.passed and check.blocking and check.severity == dg.AssetCheckSeverity.ERROR
    assert why.startswith("recovery: 0.") and "needed: a lower bound of 0.9 or more" in why
    assert check.metadata["cell"].value == cell.partition
    assert "publication_review" in materialized(events) and "published_checkpoint" not in materialized(events)
    assert not (world.settings.home / "published").exists()
    assert not [r for r in records_of(world.settings).all() if "kin-2m" in r.events[-1].cell]
    told = here("publish", "--member", "kin-2m", "--recipe", "ruined")
    assert told.code == 2 and "recovery: 0." in told.err.splitlines()[-1] and len(told.err.splitlines()) == 1
    # Nor does a run of the asset alone, which no check precedes.
    alone = dg.materialize(
        [published_checkpoint.build(CELLS)],
        partition_key=cell.partition,
        instance=world.instance,
        resources={"pipeline": PipelineResource.of(world.settings)},
        raise_on_error=False,
    )
    assert not alone.success and not (world.settings.home / "published").exists()
