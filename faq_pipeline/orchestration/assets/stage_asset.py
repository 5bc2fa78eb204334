"""Build a Dagster asset from a stage: materialize the artifact, record metadata, run checks."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.errors import FaqError, disk_error
from faq_pipeline.execution.runner import Outcome
from faq_pipeline.orchestration import tags
from faq_pipeline.orchestration.asset_checks import check_results, check_specs
from faq_pipeline.orchestration.assets.metadata import figures, rounded
from faq_pipeline.orchestration.resources import PipelineResource, ProgressResource

Describe = Callable[[Cell, Outcome], Mapping[str, Any]]


def stage_asset(
    stage: Stage,
    cells: dg.PartitionsDefinition,
    *,
    description: str,
    group: str,
    kinds: set[str],
    describe: Describe,
) -> dg.AssetsDefinition:
    """The asset of a stage.

    Args:
        describe: returns the asset's own metadata. It is shown before the figures of the manifest, and
            replaces figures of the same name.
    """

    @dg.asset(
        name=stage.name,
        deps=list(stage.inputs),
        partitions_def=cells,
        group_name=group,
        description=description,
        code_version=str(stage.version),
        kinds=kinds,
        op_tags=tags.CPU if stage.gpus is None else tags.GPU,
        pool=None if stage.gpus is None else tags.GPU_POOL,
        check_specs=check_specs(stage),
    )
    def materialize(
        context: dg.AssetExecutionContext,
        pipeline: PipelineResource,
        progress: dg.ResourceParam[ProgressResource],
    ) -> dg.MaterializeResult:
        with fail_on_faq_error():
            cell = pipeline.cell(context.partition_key)
            listener = progress.listen(context, stage.name)
            outcome = pipeline.materialize(stage.name, cell, listener, context.run_id)
            progress.finished(cell.target.partition, cell.recipe.name, outcome)
            artifact = outcome.artifact
            own = describe(cell, outcome)
            shown = {**own, **figures(artifact.metadata), **own}
            return dg.MaterializeResult(
                data_version=dg.DataVersion(artifact.digest),
                metadata={**shown, **provenance(outcome)},
                check_results=check_results(stage, cell, artifact),
            )

    return materialize


class fail_on_faq_error:  # noqa: N801 - reads as a statement
    """Context manager that turns a FaqError into a Dagster Failure with the same message, without retries.

    So does what the system says of the disk, see `disk_error`.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        mistake = disk_error(error) if isinstance(error, Exception) else None
        mistake = mistake or (error if isinstance(error, FaqError) else None)
        if mistake is not None:
            raise dg.Failure(
                description=str(mistake),
                metadata={"faq_error": True, "key": mistake.key},
                allow_retries=False,
            ) from error


def provenance(outcome: Outcome) -> dict[str, Any]:
    """Metadata about where an artifact is and whether this run made it."""
    artifact = outcome.artifact
    return {
        "cache": outcome.cache,
        "fingerprint": artifact.fingerprint,
        "digest": artifact.digest,
        "seconds_to_make": rounded(artifact.manifest.seconds),
        "path": dg.MetadataValue.path(str(artifact.path)),
    }
