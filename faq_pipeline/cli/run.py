"""`faq run`: the main job, from seed data to report, with the recipe's original-data baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import figure, out, print_json, said, say, seconds, table
from faq_pipeline.cli.options import (
    DEFAULT_MEMBER,
    DEFAULT_RECIPE,
    DeviceOption,
    JsonOption,
    MemberOption,
    RecipeOption,
)
from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.settings import Settings
from faq_pipeline.util.garbage import keep_what_is_loaded, rare_collections
from faq_pipeline.util.memoize import memoizing


def run(
    member: MemberOption = DEFAULT_MEMBER,
    recipe: RecipeOption = DEFAULT_RECIPE,
    device: DeviceOption = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be made and its estimated cost.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Quantize a member with a recipe and compare it with the original-data baselines.

    Finished stages are reused.
    """
    settings = Settings.from_environment()
    if device:
        settings = replace(settings, device=device)
    resolver = CellResolver(settings)
    with rare_collections():
        with memoizing():
            cells = wanted_cells(resolver, member, recipe)
        if dry_run:
            from faq_pipeline.cli.dry_run import show_plan

            show_plan(settings, cells, json=json)
            return
        result = _execute(resolver, cells)
    if json:
        print_json(result)
    else:
        _show(result)


def wanted_cells(resolver: CellResolver, member: str, recipe: str) -> list[Cell]:
    """The cells of a run, baselines first, checked as far as possible without loading a model.

    Raises:
        FaqError: a name is unknown, or a check fails.
    """
    from faq_pipeline.execution.preflight import check

    settings, catalog = resolver.settings, resolver.settings.catalog
    wanted = catalog.recipe(recipe)
    with catalog.attach_location(wanted):
        catalog.check_baselines(wanted)
    # The requested recipe is checked first, so that an error names it rather than a baseline.
    first, *baselines = [resolver.cell(member, name) for name in (wanted.name, *wanted.baselines)]
    for cell in (first, *baselines):
        check(cell, catalog, settings.store)
    return [*baselines, first]


def _execute(resolver: CellResolver, cells: list[Cell]) -> dict[str, Any]:
    from faq_pipeline.cli.progress import TerminalProgress
    from faq_pipeline.execution.recipe_comparison import read_comparison
    from faq_pipeline.orchestration.jobs import COMPARE, QUANTIZE
    from faq_pipeline.orchestration.runs import Runs, open_instance, register

    settings, member = resolver.settings, cells[-1].target.partition
    progress = TerminalProgress()
    with open_instance(settings) as instance:
        register(instance, [member])
        runs = Runs(settings, instance, progress, resolver)
        keep_what_is_loaded()
        with progress.bars:
            for cell in cells:
                progress.heading(cell.partition)
                runs.execute(QUANTIZE, cell.partition, stage_names.EVAL_REPORT)
            progress.heading(f"{member}, all recipes")
            compared = runs.execute(COMPARE, member, "recipe_comparison")
    comparison = read_comparison(settings.store, str(compared["fingerprint"]))
    results = [_result(settings, cell, comparison) for cell in cells]
    return {
        "stages": progress.rows,
        "result": results[-1],
        "baselines": results[:-1],
        "notes": progress.notes,
    }


def _result(settings: Settings, cell: Cell, comparison: dict[str, Any]) -> dict[str, Any]:
    """The figures of one cell, read from its artifacts."""
    planned = plan(cell, STAGES, settings.store)
    checkpoint, report = (
        planned[stage_names.QUANTIZED_CHECKPOINT].artifact,
        planned[stage_names.EVAL_REPORT].artifact,
    )
    if checkpoint is None or report is None:
        raise FaqError(f"{cell.partition} has no report", hint=f"faq run --recipe {cell.recipe.name}")
    names = ("reference", "quantized", "recovery", "loss", "kl", "kl_prose")
    row = next(row for row in comparison["recipes"] if row["recipe"] == cell.recipe.name)
    return {
        "member": cell.target.partition,
        "recipe": cell.recipe.name,
        "checkpoint_path": str(checkpoint.file("checkpoint")),
        **{name: report.metadata[name] for name in names},
        "loss_reduction": row.get("loss_reduction"),
        "verdict": row.get("verdict"),
        **{name: row.get(name, "") for name in ("reason", "remark")},
    }


def _show(result: dict[str, Any]) -> None:
    rows = [
        [
            row["recipe"],
            figure(row["reference"], 1, 100),
            figure(row["quantized"], 1, 100),
            figure(row["loss"], 1, 100),
            figure(row["kl"], 2, 1000),
            figure(row["kl_prose"], 2, 1000),
        ]
        for row in [*result["baselines"], result["result"]]
    ]
    columns = ["recipe", "reference %", "quantized %", "loss, points", "KL tasks x1e-3", "KL prose x1e-3"]
    main = result["result"]
    out().print(table(f"{main['member']}: accuracy and divergence, 95% intervals", columns, rows))
    say(f"recovery        {figure(main['recovery'])}")
    say(f"loss reduction  {figure(main['loss_reduction'])}  {said(main)}")
    say(f"checkpoint      {main['checkpoint_path']}")
    for note in result["notes"]:
        say(f"note            {', '.join(note['recipes'])}, {note['asset']}: {note['note']}")
    hits = sum(row["cache"] == "hit" for row in result["stages"])
    total = sum(row["seconds"] for row in result["stages"])
    say(f"{hits} of {len(result['stages'])} stages reused; stage time {seconds(total)}")
