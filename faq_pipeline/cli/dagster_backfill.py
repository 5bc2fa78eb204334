"""Launching a Dagster asset backfill through GraphQL, without a webserver."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faq_pipeline.cli.dagster_runs import open_instance, register
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.stages import STAGES

MUTATION = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""


def launch(settings: Settings, partitions: list[str]) -> str:
    """Queue a backfill of all stages over the partitions; returns its id.

    Raises:
        FaqError: Dagster refused it.
    """
    with open_instance(settings) as instance:
        register(instance, sorted({key.partition("|")[0] for key in partitions}))
    variables = {
        "params": {
            "assetSelection": [{"path": [name]} for name in STAGES],
            "partitionNames": partitions,
            "title": "faq backfill",
        }
    }
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [
            *(sys.executable, "-c", "from dagster_graphql.cli import main; main()"),
            *("--workspace", str(REPOSITORY / "workspace.yaml")),
            *("--text", MUTATION, "--variables", json.dumps(variables)),
            *("--output", str(answer)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
        found = _answer(answer)
    if "backfillId" not in found:
        problem = found.get("message") or (done.stderr.strip() or done.stdout.strip())[-300:]
        raise FaqError(f"Dagster did not launch the backfill: {problem}")
    return str(found["backfillId"])


def _answer(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    data = json.loads(file.read_text(encoding="utf-8")).get("data") or {}
    return dict(data.get("launchPartitionBackfill") or {})
