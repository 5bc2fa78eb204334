"""A stage as a Dagster asset: obtain the artifact, show it, check it."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from faq_pipeline import op_tags
from faq_pipeline.cell import Cell
from faq_pipeline.checks import checks_of, run_check
from faq_pipeline.errors import FaqError
from faq_pipeline.resources import PipelineResource, ProgressResource
from faq_pipeline.runner import Outcome
from faq_pipeline.stage import Stage

Describe = Callable[[Cell, Outcome], Mapping[str, Any]]


def stage_asset(
    stage: Stage,
    cells: dg.PartitionsDefinition,
    *,
    description: str,
    group: str,
    kinds: set[str],
    gpu: bool,
    describe: Describe,
) -> dg.AssetsDefinition:
    """The asset of a stage.

    Args:
        gpu: whether the stage loads a model: it then carries the GPU tags and pool.
        describe: metadata of its own beyond the figures of the manifest.
    """
    checks = checks_of(stage.name)

    @dg.asset(
        name=stage.name,
        deps=list(stage.inputs),
        partitions_def=cells,
        group_name=group,
        description=description,
        code_version=str(stage.version),
        kinds=kinds,
        op_tags=op_tags.GPU if gpu else op_tags.CPU,
        pool=op_tags.GPU_POOL if gpu else None,
        check_specs=[
            dg.AssetCheckSpec(
                check.name, asset=stage.name, description=check.description, blocking=check.blocking
            )
            for check in checks
        ],
    )
    def materialize(
        context: dg.AssetExecutionContext, pipeline: PipelineResource, progress: dg.ResourceParam[ProgressResource]
    ) -> dg.MaterializeResult:
        with user_mistakes_fail_plainly():
            cell = pipeline.cell(context.partition_key)
            outcome = pipeline.obtain(stage.name, cell, progress.listen(context, stage.name))
            progress.finished(cell.target.partition, cell.recipe.name, outcome)
            artifact = outcome.artifact
            return dg.MaterializeResult(
                data_version=dg.DataVersion(artifact.digest),
                metadata={**provenance(outcome), **figures(artifact.metadata), **describe(cell, outcome)},
                check_results=[run_check(check, cell, artifact) for check in checks],
            )

    return materialize


class user_mistakes_fail_plainly:  # noqa: N801 - reads as a statement
    """A FaqError becomes a Failure with its one line, and is not retried."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FaqError):
            raise dg.Failure(
                description=str(error), metadata={"faq_error": True}, allow_retries=False
            ) from error


def provenance(outcome: Outcome) -> dict[str, Any]:
    """Where an artifact is and whether this run made it."""
    artifact = outcome.artifact
    return {
        "cache": outcome.cache,
        "fingerprint": artifact.fingerprint,
        "digest": artifact.digest,
        "seconds_to_make": artifact.manifest.seconds,
        "path": dg.MetadataValue.path(str(artifact.path)),
    }


def figures(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's plain figures; intervals become text, longer structures are left to `describe`."""
    shown: dict[str, Any] = {}
    for name, value in metadata.items():
        if isinstance(value, (bool, int, float, str)):
            shown[name] = value
        elif isinstance(value, dict) and {"value", "low", "high"} <= value.keys():
            shown[name] = interval(value)
    return shown


def interval(figure: Mapping[str, float | None]) -> str:
    """A figure with its 95% interval, as text."""
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.4g}"
    return f"{figure['value']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}]"


def table(rows: list[Mapping[str, Any]]) -> dg.MetadataValue:
    """Rows as a Markdown table; Dagster renders it."""
    if not rows:
        return dg.MetadataValue.md("(none)")
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_one_line(row[name]) for name in names) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def _one_line(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "" if value is None else str(value)
    text = text.replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= 400 else text[:397] + "..."
