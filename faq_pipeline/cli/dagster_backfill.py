"""Launching a Dagster asset backfill through GraphQL, without a webserver."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from faq_pipeline.cli.dagster_runs import open_instance, register
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import REPOSITORY, Settings
from faq_pipeline.stages import STAGES


def launch(settings: Settings, partitions: list[str]) -> str:
    """Queue a backfill of all stages over the partitions; returns its id.

    Raises:
        FaqError: Dagster refused it.
    """
    with open_instance(settings) as instance:
        register(instance, sorted({key.partition("|")[0] for key in partitions}))
    variables = {
        "backfillParams": {
            "assetSelection": [{"path": [name]} for name in STAGES],
            "partitionNames": partitions,
            "title": "faq backfill",
        }
    }
    command = [
        sys.executable,
        "-c",
        "from dagster_graphql.cli import main; main()",
        "-w",
        str(REPOSITORY / "workspace.yaml"),
        "-p",
        "launchPartitionBackfill",
        "-v",
        json.dumps(variables),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    answer = _answer(done.stdout)
    backfill_id = answer.get("backfillId")
    if backfill_id is None:
        raise FaqError(f"Dagster did not launch the backfill: {answer.get('message') or done.stderr[-300:]}")
    return str(backfill_id)


def _answer(text: str) -> dict[str, Any]:
    start = text.find("{")
    if start < 0:
        return {}
    data = json.loads(text[start:]).get("data") or {}
    return dict(data.get("launchPartitionBackfill") or {})
