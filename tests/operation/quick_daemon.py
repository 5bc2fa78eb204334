"""`dagster-daemon` in little time: `python -m tests.operation.quick_daemon ARGUMENTS...`.

Dagster looks at backfills twice a minute, and no setting says otherwise: a test would mostly wait.
"""

from __future__ import annotations

from pathlib import Path

from dagster._daemon import controller
from dagster._daemon.cli import main

from faq_pipeline.settings import REPOSITORY

WAITS = {"poll_interval_seconds": (15, 2), "free_slots_after_run_end_seconds": (15, 2)}
"""Seconds in the shipped `dagster.yaml`, and here."""


def write_instance(dagster_home: Path) -> None:
    """The shipped `dagster.yaml` with shorter waits, in a home of Dagster's that is made for it."""
    text = (REPOSITORY / "dagster.yaml").read_text(encoding="utf-8")
    for name, (shipped, here) in WAITS.items():
        assert f"{name}: {shipped}\n" in text
        text = text.replace(f"{name}: {shipped}\n", f"{name}: {here}\n")
    dagster_home.mkdir(parents=True)
    (dagster_home / "dagster.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    assert controller.DEFAULT_DAEMON_INTERVAL_SECONDS == 30
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 4
    main()
