"""The checks of the stages as Dagster asset checks. A failed blocking check stops downstream assets.

Checks run at every materialization, also on cache hits, so that a cached artifact that violates a
contract is not passed on.
"""

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.check import Check
from faq_pipeline.core.stage import Stage
from faq_pipeline.store.artifact import Artifact


def check_specs(stage: Stage) -> list[dg.AssetCheckSpec]:
    """The check specs that the stage's asset declares."""
    return [
        dg.AssetCheckSpec(
            check.name, asset=stage.name, description=check.description, blocking=check.blocking
        )
        for check in stage.checks
    ]


def check_results(stage: Stage, cell: Cell, artifact: Artifact) -> list[dg.AssetCheckResult]:
    """Run every check of the stage on an artifact."""
    return [_run(check, cell, artifact) for check in stage.checks]


def _run(check: Check, cell: Cell, artifact: Artifact) -> dg.AssetCheckResult:
    result = check.run(cell, artifact)
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=result.passed,
        severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
        # The UI shows the latest result of a check over all partitions, so the metadata names the cell.
        metadata={"cell": cell.partition, **result.metadata},
    )
