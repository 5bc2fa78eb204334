"""What Dagster records of a run: the code location that it is of, and whether it is retried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import dagster as dg
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import MAX_RETRIES_TAG, WILL_RETRY_TAG

from faq_pipeline.util.attributes import replaced_attribute

REPOSITORY_NAME = "__repository__"
"""What Dagster calls the only repository of a code location."""
NOT_RETRIED = {MAX_RETRIES_TAG: "0"}
"""Tags of a run that the daemon does not start again.

A run that re-executes it has them too, until it starts.
"""


@contextmanager
def of_code_location(instance: dg.DagsterInstance, location: str, job: str) -> Iterator[None]:
    """Within the block new runs of the instance are the job's of a code location.

    A run that `execute_in_process` makes has no origin, and the UI shows a run without one neither in the
    Timeline nor under its job. With one, the daemon could also retry it; see `NOT_RETRIED`.
    """
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), REPOSITORY_NAME)
    create = partial(instance.create_run_for_job, remote_job_origin=RemoteJobOrigin(repository, job))
    with replaced_attribute(instance, "create_run_for_job", create):
        yield


def is_retry_undecided(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run has failed and Dagster has not said yet whether it is retried.

    Dagster stores the status first and the tag after it; between the two a run that will be retried looks
    as if it had failed for good.
    """
    failed = run.status is dg.DagsterRunStatus.FAILURE
    return failed and instance.run_retries_enabled and WILL_RETRY_TAG not in run.tags
