"""Whether the process that executes a run is still there, as the daemon asks a launcher."""

from __future__ import annotations

from typing import Any

from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

__all__ = ["GRPC_INFO_TAG", "CheckRunHealthResult", "WorkerStatus", "code_server_has_run"]

SECONDS_TO_ANSWER = 10
"""How long a code server may take to say whether it has a run."""


def code_server_has_run(server: dict[str, Any], run_id: str) -> bool:
    """Whether a code server has the run; True while it cannot be asked."""
    # These load gRPC, which no step needs.
    from dagster._grpc.client import DagsterGrpcClient
    from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
    from dagster._serdes import deserialize_value

    client = DagsterGrpcClient(
        host=server["host"], port=server["port"], use_ssl=bool(server.get("use_ssl", False))
    )
    try:
        answer = client.can_cancel_execution(
            CanCancelExecutionRequest(run_id=run_id), timeout=SECONDS_TO_ANSWER
        )
    except DagsterUserCodeUnreachableError:
        return True
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel
