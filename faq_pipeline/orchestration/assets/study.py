"""The assets `study_cells` and `study_report`: a study's cells, made in one process, and their report."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from faq_pipeline.lineage.index import merge
from faq_pipeline.orchestration import tags
from faq_pipeline.orchestration.assets.metadata import figures, table
from faq_pipeline.orchestration.assets.plots import picture
from faq_pipeline.orchestration.assets.stage_asset import fail_on_faq_error
from faq_pipeline.orchestration.resources import PipelineResource, ProgressResource
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.study.design.cells import Design, resolve_study

CELLS, REPORT = "study_cells", "study_report"
NO_FAILURES = "no_failed_cells"
MOST_SHOWN = 50
"""Maximum number of failed cells in the UI's table; the report lists all."""


def build(names: Sequence[str]) -> list[dg.AssetsDefinition]:
    """Both assets, with one partition per study."""
    studies = dg.StaticPartitionsDefinition(list(names))
    return [_cells(studies), _report(studies)]


def _cells(studies: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name=CELLS,
        partitions_def=studies,
        group_name="study",
        description="Every cell of a study (target x arm x quantizer x draw), made in one process. Finished"
        " cells are reused. `faq study run` does the same with several processes.",
        kinds={"parquet"},
        op_tags=tags.GPU,
        pool=tags.GPU_POOL,
        check_specs=[dg.AssetCheckSpec(NO_FAILURES, asset=CELLS, description="Every cell has its figures.")],
    )
    def study_cells(
        context: dg.AssetExecutionContext,
        pipeline: PipelineResource,
        progress: dg.ResourceParam[ProgressResource],
    ) -> dg.MaterializeResult:
        from faq_pipeline.study.execution.results import read_results
        from faq_pipeline.study.execution.run import run_study

        settings = pipeline.settings()
        with fail_on_faq_error():
            design = _design(pipeline, context.partition_key)
            listener = progress.listen(context, CELLS)
            summary = run_study(design, settings.store, progress=listener)
        merge(settings.store, settings.lineage)
        results = read_results(settings.store, design.study.name)
        made = {cell.id: dict(results[cell.id].artifacts) for cell in design.cells if cell.id in results}
        failed = [{"cell": cell, "problem": why} for cell, why in list(summary.failed.items())[:MOST_SHOWN]]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(fingerprint(CELLS, 1, made, {})),
            metadata={
                "cells": summary.cells,
                "reused": summary.before,
                "made": summary.made,
                "failed": len(summary.failed),
                "seconds": round(summary.seconds, 1),
                **({"failures": table(failed)} if failed else {}),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name=NO_FAILURES,
                    passed=not summary.failed,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"study": design.study.name, "failed": len(summary.failed)},
                )
            ],
        )

    return study_cells


def _report(studies: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name=REPORT,
        deps=[CELLS],
        partitions_def=studies,
        group_name="study",
        description="The report of a study's finished cells: headline, ablation, intervals, costs.",
        kinds={"markdown"},
        op_tags=tags.CPU,
    )
    def study_report(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> dg.MaterializeResult:
        from faq_pipeline.study.report.report import FOREST_PNG, materialize_report

        with fail_on_faq_error():
            artifact = materialize_report(_design(pipeline, context.partition_key), pipeline.settings().store)
        headline, forest = artifact.metadata["headline"], artifact.file(FOREST_PNG)
        shown: dict[str, Any] = {"in words": artifact.metadata["in_words"]}
        if headline is not None:
            shown |= {f"loss reduction, {name}": float(value) for name, value in headline.items()}
        if forest.is_file():
            shown["forest plot"] = picture(forest)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(artifact.digest),
            metadata={
                **shown,
                **figures(artifact.metadata),
                "report": dg.MetadataValue.path(str(artifact.file("report.html"))),
            },
        )

    return study_report


def _design(pipeline: PipelineResource, name: str) -> Design:
    settings = pipeline.settings()
    return resolve_study(settings.catalog, name, settings.device, settings.digests)
