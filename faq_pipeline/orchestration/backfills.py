"""Launch and cancel Dagster asset backfills through GraphQL, without a webserver; watch a backfill."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.orchestration.backfill_state import BackfillState, daemon_silence, read_backfill
from faq_pipeline.orchestration.partitions import register_cells
from faq_pipeline.orchestration.runs import open_instance
from faq_pipeline.orchestration.tags import k8s_tags
from faq_pipeline.settings import REPOSITORY, Settings

LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""
CANCEL = """
mutation ($id: String!) {
  cancelPartitionBackfill(backfillId: $id) {
    ... on CancelBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""


def launch(settings: Settings, cells: Sequence[Cell]) -> str:
    """Queue a backfill of all stages of the cells, and return its id.

    Raises:
        FaqError: Dagster refused the backfill.
    """
    with open_instance(settings) as instance:
        register_cells(instance, [cell.partition for cell in cells])
    params = {
        "assetSelection": [{"path": [name]} for name in STAGES],
        "partitionNames": [cell.partition for cell in cells],
        "title": "faq backfill",
        "tags": [{"key": name, "value": value} for name, value in k8s_tags(*cells).items()],
    }
    return _ask(LAUNCH, {"params": params}, "did not launch the backfill")


def cancel(settings: Settings, backfill_id: str) -> None:
    """Ask the daemon to cancel a backfill: it stops running runs and starts no waiting ones.

    Raises:
        FaqError: Dagster refused the cancellation.
    """
    open_instance(settings).dispose()
    _ask(CANCEL, {"id": backfill_id}, "did not cancel the backfill")


def _ask(mutation: str, variables: dict[str, Any], problem: str) -> str:
    """Run a mutation and return the id of its backfill."""
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [
            *(sys.executable, "-c", "from dagster_graphql.cli import main; main()"),
            *("--workspace", str(REPOSITORY / "workspace.yaml")),
            *("--text", mutation, "--variables", json.dumps(variables)),
            *("--output", str(answer)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
        found = _answer(answer)
    if "backfillId" not in found:
        message = found.get("message") or (done.stderr.strip() or done.stdout.strip())[-300:]
        raise FaqError(f"Dagster {problem}: {message}")
    return str(found["backfillId"])


def _answer(file: Path) -> dict[str, Any]:
    """The result of the mutation; empty if there is none."""
    if not file.exists():
        return {}
    data = json.loads(file.read_text(encoding="utf-8")).get("data") or {}
    return dict(next(iter(data.values()), None) or {})


@dataclass(frozen=True)
class BackfillWatch:
    """Reads the state of a backfill from an open instance."""

    instance: dg.DagsterInstance
    backfill_id: str

    def read(self, before: BackfillState | None = None) -> BackfillState:
        """The current state; see `read_backfill`."""
        return read_backfill(self.instance, self.backfill_id, before)

    def daemon_silence(self) -> float | None:
        """Seconds since the last heartbeat of a daemon; None while it is alive. See `daemon_silence`."""
        return daemon_silence(self.instance)
