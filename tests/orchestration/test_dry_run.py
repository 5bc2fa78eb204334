"""What dry runs print: readable at 80 columns, with the process's memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.orchestration.conftest import Run
from tests.site import Site, make_site

RUN = ("run", "--member", "tiny-s", "--recipe", "tiny-faq", "--dry-run")
BACKFILL = ("backfill", "--members", "tiny-s", "--recipes", "tiny-self,tiny-faq", "--dry-run")


@pytest.fixture
def site(tmp_path: Path, tiny_data: Path) -> Site:
    """Long times are known, and one recipe is made."""
    site = make_site(tmp_path, tiny_data)
    site.make("tiny-s", "tiny-self", seconds=45_000)
    return site


@pytest.mark.parametrize("command", [RUN, BACKFILL], ids=["run", "backfill"])
def test_a_plan_fits_80_columns_and_cuts_nothing(faq: Run, site: Site, command: tuple[str, ...]) -> None:
    shown = faq(site.data, *command)
    assert shown.code == 0 and max(map(len, shown.out.splitlines())) <= 80
    planned = json.loads(faq(site.data, *command, "--json").out)["plan"]
    for row in planned:
        assert row["recipe"] in shown.out
        if row["cache"] == "miss":
            assert row["asset"] in shown.out
    assert " h " in shown.out and "GB" in shown.out


def test_memory_is_that_of_the_process_on_a_cpu_and_else_of_the_gpu(faq: Run, site: Site) -> None:
    """A process that loads the libraries takes 0.7 GB and more, however small the model is."""
    on_cpu, on_gpu = (
        {
            row["asset"]: row["memory_gib"]
            for row in json.loads(faq(site.data, *RUN, "--json", *more).out)["plan"]
        }
        for more in ((), ("--assume-memory", "80"))
    )
    assert 0.7 < on_cpu["quantized_checkpoint"] < 1.5 and on_gpu["quantized_checkpoint"] < 0.1
    assert on_cpu["seed_data"] is None
    assert "memory: main memory of the process" in faq(site.data, *RUN).out
    assert "memory: of the GPU" in faq(site.data, *RUN, "--assume-memory", "80").out


def test_a_slow_method_is_estimated_from_gptqs_runs_and_said(faq: Run, site: Site) -> None:
    """Of another recipe, whose checkpoint took 100 s: 31 times that with 200 iterations."""
    site.recipe("name: slow\nextends: tiny-faq\ntitle: Learned\nquantization: {method: autoround}\n")
    command = ("run", "--member", "tiny-s", "--recipe", "slow", "--dry-run")
    first = faq(site.data, *command, home=site.root / "empty").out.replace("\n  ", " ")
    assert "autoround with 200 iterations took about 31 times as long as gptq" in first
    assert "how long here is not known yet" in first and "how long" not in faq(site.data, *RUN).out
    site.edit("recipes/slow.yaml", "autoround", "autoround, iterations: 100")
    (row,) = (
        row
        for row in json.loads(faq(site.data, *command, "--json").out)["plan"]
        if row["asset"] == "quantized_checkpoint"
    )
    assert row["seconds"] == pytest.approx(45_000 * 31 / 2)
    assert "will take about 193 h 45 min" in faq(site.data, *command).out.replace("\n  ", " ")
