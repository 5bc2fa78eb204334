"""The sensor `report_staleness`: what it tells, once, and that the instance finds it by partition."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterInstance

from faq_pipeline.orchestration.automation import reporting
from faq_pipeline.orchestration.automation.reporting import report
from faq_pipeline.settings import Settings
from tests.site import Site

KEY = dg.AssetKey("quantized_checkpoint")


class Reporter:
    """The sensor as the daemon evaluates it: its cursor is kept, its events are stored."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance, self.cursor = instance, ""

    def tick(self) -> dict[str, tuple[str, str]]:
        """What it observed of the family tiny: state and reason by cell, without the revision."""
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            result = report(context, Settings.from_environment())
        assert isinstance(result, dg.SensorResult) and not result.run_requests
        self.cursor = result.cursor or ""
        told = {}
        for event in result.asset_events:
            assert isinstance(event, dg.AssetObservation)
            self.instance.report_runless_asset_event(event)
            member, _, recipe = str(event.partition).partition("|")
            name = f"{member.partition('@')[0]}|{recipe}"
            told[name] = (str(event.metadata["state"].value), str(event.metadata["reason"].value))
        return {name: one for name, one in told.items() if name.startswith("tiny")}


@pytest.fixture
def reporter(site: Site, instance: DagsterInstance) -> Iterator[Reporter]:
    reporter = Reporter(instance)
    assert set(reporter.tick()) == {"tiny-l|tiny-faq"}  # it is the largest; what is complete needs no word
    assert reporter.tick() == {}
    yield reporter


def test_a_cell_is_reported_when_it_becomes_stale_and_when_it_is_complete_again(
    site: Site, reporter: Reporter
) -> None:
    site.edit("recipes/tiny-self.yaml", "source: self", "source: self, candidates: 3")
    reason = "regenerated_corpus: regeneration.candidates 2 -> 3"
    stale = ("stale", reason)
    assert reporter.tick() == {"tiny-s|tiny-self": stale, "tiny-l|tiny-self": stale}
    assert reporter.tick() == {}
    partition = site.cell("tiny-s", "tiny-self").partition
    (seen,) = observations(reporter.instance, partition)
    assert seen.metadata["reason"].value == reason
    assert seen.metadata["out_of_date"].value == "regenerated_corpus"
    assert seen.description == f"stale: {reason}"
    site.make("tiny-s", "tiny-self")
    assert reporter.tick() == {"tiny-s|tiny-self": ("complete", "everything that it declares is made")}
    assert reporter.tick() == {}
    assert len(observations(reporter.instance, partition)) == 2


def observations(instance: DagsterInstance, partition: str) -> list[dg.AssetObservation]:
    found = instance.fetch_observations(
        dg.AssetRecordsFilter(asset_key=KEY, asset_partitions=[partition]), limit=10
    )
    return [record.asset_observation for record in found.records if record.asset_observation]


def test_another_reason_is_reported_anew(site: Site, reporter: Reporter) -> None:
    site.edit("recipes/tiny-faq.yaml", "scheme: W4A16", "scheme: W8A16")
    assert len(reporter.tick()) == 3
    site.edit("recipes/tiny-faq.yaml", "scheme: W8A16", "scheme: W8A8")
    assert {reason for _, reason in reporter.tick().values()} == {
        "quantized_checkpoint: quantization.scheme W4A16 -> W8A8"
    }


def test_many_changes_are_spread_over_ticks_and_none_is_lost_or_told_twice(
    site: Site, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "MOST_EVENTS", 2)
    site.edit("recipes/tiny-faq.yaml", "scheme: W4A16", "scheme: W8A16")
    first, second, third = (reporter.tick() for _ in range(3))
    assert (len(first), len(second), len(third)) == (2, 1, 0)
    assert {*first, *second} == {"tiny-s|tiny-faq", "tiny-s|tiny-self", "tiny-l|tiny-self"}


def test_the_cursor_is_compact_and_a_broken_one_starts_anew(site: Site, reporter: Reporter) -> None:
    site.edit("recipes/tiny-faq.yaml", "scheme: W4A16", "scheme: W8A16")
    before = len(reporter.cursor)
    reporter.tick()
    assert len(reporter.cursor) == before + 3 * 16
    reporter.cursor = '{"of": "another version"}'
    assert len(reporter.tick()) == 4


def test_a_cell_that_is_nobodys_any_more_leaves_the_cursor(site: Site, reporter: Reporter) -> None:
    before = len(reporter.cursor)
    site.edit("families/tiny.yaml", "recipes: [tiny-faq, tiny-self]", "recipes: [tiny-self]")
    assert reporter.tick() == {}
    assert len(reporter.cursor) == before - 16


def test_a_broken_family_file_is_a_skip_that_forgets_nothing(site: Site, reporter: Reporter) -> None:
    text, cursor = (site.data / "families/tiny.yaml").read_text(), reporter.cursor
    (site.data / "families/tiny.yaml").write_text("name: [")
    with dg.build_sensor_context(instance=reporter.instance, cursor=cursor) as context:
        result = report(context, Settings.from_environment())
    assert isinstance(result, dg.SensorResult) and not result.asset_events
    assert "tiny.yaml" in str(result.skip_reason) and result.cursor == cursor
    (site.data / "families/tiny.yaml").write_text(text)
    assert reporter.tick() == {}
