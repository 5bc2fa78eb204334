"""The schedule `requantize_stale_<family>`, in a real instance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import SCHEDULED_EXECUTION_TIME_TAG

from faq_pipeline.definitions import build_defs
from faq_pipeline.errors import FaqError
from faq_pipeline.orchestration.automation.requests import DECLARED, LOST, REASON, asked_before, run_request
from faq_pipeline.orchestration.partitions import MEMBERS
from faq_pipeline.orchestration.resources import PipelineResource
from faq_pipeline.planning.staleness import State
from faq_pipeline.settings import Settings
from tests.site import OTHER_SCHEME, Site, make_site

NIGHT = datetime(2026, 3, 1, 2, tzinfo=UTC)
SCHEDULE = "requantize_stale_tiny"


@dataclass
class Nights:
    """The schedule as the daemon evaluates it, night after night, and the runs that it creates."""

    site: Site
    instance: DagsterInstance
    number: int = 0
    definitions: dg.Definitions = field(default_factory=lambda: build_defs(Settings.from_environment()))
    """As they were when the code location was loaded."""

    def tick(self, *, again: bool = False) -> tuple[list[dg.RunRequest], str]:
        """What the next tick requests, or why it skips; `again` is the same tick once more."""
        self.number += not again
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=NIGHT + timedelta(days=self.number),
            repository_def=self.definitions.get_repository_def(),
        ) as context:
            data = self.schedule.evaluate_tick(context)
        return list(data.run_requests or []), data.skip_message or ""

    @property
    def schedule(self) -> dg.ScheduleDefinition:
        return self.definitions.resolve_schedule_def(SCHEDULE)

    def reload(self) -> None:
        self.definitions = build_defs(Settings.from_environment())

    def requested(self) -> set[str]:
        return names(self.tick()[0])

    def launch(self, requests: Iterable[dg.RunRequest], *, queued: bool = True) -> list[DagsterRun]:
        """The runs as the daemon creates and then queues them."""
        time = (NIGHT + timedelta(days=self.number)).isoformat()
        job = self.definitions.resolve_job_def("quantize")
        place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository")
        origin = RemoteJobOrigin(place, job.name)
        runs = [
            self.instance.create_run_for_job(
                job, tags={**r.tags, SCHEDULED_EXECUTION_TIME_TAG: time}, remote_job_origin=origin
            )
            for r in requests
        ]
        if queued:
            self.bring(runs, DagsterRunStatus.QUEUED)
        return runs

    def bring(self, runs: Sequence[DagsterRun], status: DagsterRunStatus) -> None:
        events = {
            DagsterRunStatus.QUEUED: dg.DagsterEventType.RUN_ENQUEUED,
            DagsterRunStatus.STARTED: dg.DagsterEventType.RUN_START,
            DagsterRunStatus.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
            DagsterRunStatus.FAILURE: dg.DagsterEventType.RUN_FAILURE,
            DagsterRunStatus.CANCELED: dg.DagsterEventType.RUN_CANCELED,
        }
        for run in runs:
            event = dg.DagsterEvent(events[status].value, run.job_name)
            self.instance.report_dagster_event(event, run.run_id)
            found = self.instance.get_run_by_id(run.run_id)
            assert found is not None and found.status is status


def names(requests: Iterable[dg.RunRequest]) -> set[str]:
    """Cells without the revision."""
    keys = [str(request.partition_key).partition("|") for request in requests]
    return {f"{member.partition('@')[0]}|{recipe}" for member, _, recipe in keys}


@pytest.fixture
def nights(site: Site, instance: DagsterInstance) -> Nights:
    return Nights(site, instance)


def change(site: Site) -> set[str]:
    """A changed recipe and a new member; returns the cells that are thereby stale or missing."""
    site.recipe((site.data / "recipes/tiny-self.yaml").read_text() + "quantization: {scheme: W8A16}\n")
    site.add_member("tiny-new")
    return {"tiny-new|tiny-faq", "tiny-new|tiny-self", "tiny-s|tiny-self", "tiny-l|tiny-self"}


def test_a_changed_recipe_and_a_new_member_are_requested_exactly_and_then_nothing(nights: Nights) -> None:
    requests, skipped = nights.tick()
    assert not requests
    assert skipped.startswith("3 cells are fresh; tiny-l@") and "it is the largest" in skipped
    wanted = change(nights.site)
    requests, skipped = nights.tick()
    assert names(requests) == wanted and len(requests) == 4 and not skipped
    members = {str(request.partition_key).partition("|")[0] for request in requests}
    assert members == set(nights.instance.get_dynamic_partitions(str(MEMBERS.name)))
    reasons = {str(r.partition_key).partition("@")[0] + "|" + r.tags[REASON] for r in requests}
    assert "tiny-l|stale: quantized_checkpoint: quantization.scheme W4A16 -> W8A16" in reasons
    runs = nights.launch(requests)
    assert nights.tick()[0] == [] and "is queued" in nights.tick()[1]
    nights.bring(runs, DagsterRunStatus.STARTED)
    assert nights.tick()[0] == [] and "is started" in nights.tick()[1]
    for cell in wanted:
        nights.site.make(*cell.split("|"))
    nights.bring(runs, DagsterRunStatus.SUCCESS)
    assert nights.tick()[0] == [] and nights.tick()[1].startswith("5 cells are fresh")


def test_a_cell_that_failed_twice_is_left_alone_until_it_declares_something_else(nights: Nights) -> None:
    nights.site.edit("recipes/tiny-faq.yaml", "temperature: 1.0", "temperature: 0.8")
    stale = {"tiny-s|tiny-faq", "tiny-s|tiny-self", "tiny-l|tiny-self"}
    for status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
        requests, _ = nights.tick()
        assert names(requests) == stale
        nights.bring(nights.launch(requests), status)
    requests, skipped = nights.tick()
    assert not requests and "2 runs failed" in skipped and "not requested again until its" in skipped
    nights.site.edit("recipes/tiny-faq.yaml", "temperature: 0.8", "temperature: 0.5")
    requests, _ = nights.tick()
    assert names(requests) == stale
    nights.launch(requests)
    nights.site.edit("recipes/tiny-faq.yaml", "temperature: 0.5", "temperature: 0.8")
    assert nights.requested() == stale  # it declared something else in between


def test_a_tick_that_is_evaluated_again_asks_for_the_same(nights: Nights) -> None:
    """As after a crash between the runs of one tick: Dagster knows by keys which are there."""
    change(nights.site)
    nights.site.requantize(["tiny-faq", "tiny-self"], hours=0.12)
    first, _ = nights.tick()
    assert 0 < len(first) < 4
    nights.launch(first[:1], queued=False)
    again, _ = nights.tick(again=True)
    assert [request.run_key for request in again] == [request.run_key for request in first]
    nights.launch(first[1:])
    assert names(nights.tick()[0]).isdisjoint(names(first))


def test_a_run_that_was_created_and_never_launched_is_asked_for_again(nights: Nights) -> None:
    nights.site.edit("recipes/tiny-faq.yaml", "temperature: 1.0", "temperature: 0.8")
    nights.launch(nights.tick()[0], queued=False)
    assert nights.requested() == set()
    for record in nights.instance.get_run_records():
        created = (record.create_timestamp - LOST - timedelta(minutes=1)).replace(tzinfo=None)
        move_creation(nights.instance, record.dagster_run, created)
    assert len(nights.requested()) == 3


def move_creation(instance: DagsterInstance, run: DagsterRun, to: datetime) -> None:
    """Dagster has no door to the past."""
    from dagster._core.storage.runs.schema import RunsTable

    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.execute(
            RunsTable.update().where(RunsTable.c.run_id == run.run_id).values(create_timestamp=to)
        )


def test_runs_that_others_asked_for_count(nights: Nights) -> None:
    """A sensor's request, as discovery makes it."""
    change(nights.site)
    request = run_request(nights.site.cell("tiny-new", "tiny-faq"), "released")
    tags = {**request.tags, "dagster/partition": str(request.partition_key)}
    nights.launch([request.with_replaced_attrs(tags=tags)])
    assert "tiny-new|tiny-faq" not in nights.requested()


def test_what_is_broken_skips_with_its_reason_and_hinders_nobody(nights: Nights) -> None:
    change(nights.site)
    (nights.site.data / "recipes/tiny-self.yaml").write_text("name: tiny-self\nextends: nothing\n")
    requests, _ = nights.tick()
    assert names(requests) == {"tiny-new|tiny-faq"}
    nights.launch(requests)
    _, skipped = nights.tick()
    assert "'extends: nothing' names no file" in skipped


def test_a_broken_family_file_skips_the_tick(nights: Nights) -> None:
    (nights.site.data / "families/tiny.yaml").write_text("name: tiny\nmembers: {\n")
    requests, skipped = nights.tick()
    assert not requests and "tiny.yaml" in skipped


def test_a_recipe_that_is_newer_than_the_code_location_is_requested(nights: Nights) -> None:
    nights.site.recipe(OTHER_SCHEME)
    nights.site.requantize(["tiny-faq", "tiny-w8"])
    assert nights.requested() == {"tiny-s|tiny-w8"}


def test_a_family_that_publishes_asks_for_the_job_that_does(nights: Nights) -> None:
    nights.site.requantize(["tiny-faq"], more="publish: {licences: [Apache-2.0]}")
    nights.site.edit("recipes/tiny-faq.yaml", "temperature: 1.0", "temperature: 0.8")
    assert "reload the code location" in nights.tick()[1]  # a schedule has one job
    nights.reload()
    assert nights.schedule.job_name == "requantize" and nights.schedule.execution_timezone == "UTC"
    assert nights.schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    (request,), _ = nights.tick()
    assert request.job_name == "requantize"


@pytest.mark.parametrize("cron", ["0 0 LW * *", "0 0 * * 5L", "0 0 * * 1,3#1", "0 2 * * * *", "0 99 * * *"])
def test_a_cron_that_dagster_does_not_know_is_refused_with_its_line(site: Site, cron: str) -> None:
    """It would keep all definitions from loading."""
    site.edit("families/tiny.yaml", "0 2 * * *", cron)
    with pytest.raises(FaqError, match=r"tiny.yaml:\d+"):
        site.settings.catalog.family("tiny")


@pytest.mark.parametrize("cron", ["*/7 * * * *", "0 0 L * *", "0 0 * * 1#2", "0 0 1-31/2 JAN MON-FRI"])
def test_a_cron_that_is_accepted_loads(site: Site, cron: str) -> None:
    site.edit("families/tiny.yaml", "0 2 * * *", cron)
    assert build_defs(Settings.from_environment()).resolve_schedule_def(SCHEDULE).cron_schedule == cron


@pytest.mark.slow
def test_a_requested_run_makes_its_cell(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is stubbed: the job runs with the request's tags, and the next tick finds the cell fresh."""
    from faq_pipeline.orchestration.runs import open_instance

    site = make_site(tmp_path, tiny_data)
    site.enter(monkeypatch)
    site.requantize(["tiny-faq"])
    with open_instance(site.settings) as instance:
        nights = Nights(site, instance)
        (request,), _ = nights.tick()
        # The default one keeps the environment's settings for the life of the process.
        places = PipelineResource(home=str(site.root / "home"), data=[str(site.data)], device="cpu")
        definitions = build_defs(site.settings, resource_overrides={"pipeline": places})
        job = definitions.resolve_job_def(str(request.job_name))
        done = job.execute_in_process(
            instance=instance, partition_key=request.partition_key, tags=dict(request.tags)
        )
        assert done.success and done.dagster_run.tags[DECLARED] == request.tags[DECLARED]
        assert site.cell_status("tiny-s", "tiny-faq").state is State.COMPLETE
        assert nights.tick()[1].startswith("1 cells are fresh")
        assert "succeeded" in asked_before(instance, [site.cell("tiny-s", "tiny-faq")]).popitem()[1]
