"""`faq run`: the main job, from seed data to report, with the recipe's original-data baselines."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Annotated, Any

import typer

from faq_pipeline.cli.display import err, in_lines, print_json, say, seconds, wrapped
from faq_pipeline.cli.figures import show_figures
from faq_pipeline.cli.options import (
    DEFAULT_MEMBER,
    DEFAULT_RECIPE,
    AssumeMemoryOption,
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
from faq_pipeline.models.device_memory import assumed_memory
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
    assume_memory: AssumeMemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Quantize a member with a recipe and compare it with the original-data baselines.

    Finished stages are reused.
    """
    settings = Settings.from_environment()
    if device:
        settings = replace(settings, device=device)
    resolver = CellResolver(settings)
    with rare_collections(), planned_memory(assume_memory, dry_run=dry_run):
        with memoizing():
            cells = wanted_cells(resolver, member, recipe)
        if dry_run:
            from faq_pipeline.cli.dry_run import show_plan

            show_plan(settings, cells, json=json)
            return
        result = execute(resolver, cells)
        result |= _reported(resolver, cells[-1])
    if json:
        print_json(result)
    else:
        show_figures(result)
        main = result["result"]
        for note in result["notes"]:
            wrapped(f"note: {', '.join(note['recipes'])}, {note['asset']}: {note['note']}")
        say(f"checkpoint: {main['checkpoint_path']}")
        hits = sum(row["cache"] == "hit" for row in result["stages"])
        total = sum(row["seconds"] for row in result["stages"])
        say(f"{hits} of {len(result['stages'])} stages reused; all stages took {seconds(total)}")
        say(f"report: {result['report']}")
        for sentence in result["summary"]:
            wrapped(sentence)


def planned_memory(gib: float | None, *, dry_run: bool) -> AbstractContextManager[None]:
    """The memory of a GPU that is not here, for the time of a plan.

    Raises:
        FaqError: it is given for a run.
    """
    if gib is not None and not dry_run:
        raise FaqError("--assume-memory is for plans", hint="add --dry-run")
    return assumed_memory(gib)


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


def execute(resolver: CellResolver, cells: list[Cell], last: str = stage_names.EVAL_REPORT) -> dict[str, Any]:
    """Run the cells through Dagster, one after another, and compare the member's recipes.

    Args:
        last: the stage to stop at: the report, or the checkpoint; then nothing is compared.

    Returns:
        `stages`, one row each; and `result` and `baselines` with their figures, where there are any.

    Raises:
        FaqError: a step failed because of a user error.
    """
    from faq_pipeline.cli.dry_run import slow_method_line
    from faq_pipeline.cli.progress import TerminalProgress
    from faq_pipeline.execution.recipe_comparison import read_comparison
    from faq_pipeline.orchestration.jobs import CHECKPOINT, COMPARE, QUANTIZE
    from faq_pipeline.orchestration.runs import Runs, open_instance

    settings, member = resolver.settings, cells[-1].target.partition
    if line := slow_method_line(settings, cells):
        for part in in_lines(line):
            err().print(part, markup=False)
    progress = TerminalProgress()
    with open_instance(settings) as instance:
        runs = Runs(settings, instance, progress, resolver)
        keep_what_is_loaded()
        with progress.bars:
            for cell in cells:
                progress.heading(cell.partition)
                job = QUANTIZE if last == stage_names.EVAL_REPORT else CHECKPOINT
                runs.execute(job, cell.partition, last)
            if last != stage_names.EVAL_REPORT:
                return {"stages": progress.rows, "notes": progress.notes}
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
    from faq_pipeline.reporting.content import arm_label

    planned = plan(cell, STAGES, settings.store)
    checkpoint, report = (
        planned[stage_names.QUANTIZED_CHECKPOINT].artifact,
        planned[stage_names.EVAL_REPORT].artifact,
    )
    if checkpoint is None or report is None:
        raise FaqError(f"{cell.partition} has no report", hint=f"faq run --recipe {cell.recipe.name}")
    names = ("reference", "quantized", "recovery", "loss", "kl", "kl_prose", "questions", "per_task")
    row = next(row for row in comparison["recipes"] if row["recipe"] == cell.recipe.name)
    return {
        "member": cell.target.partition,
        "recipe": cell.recipe.name,
        "label": arm_label(cell),
        "checkpoint_path": str(checkpoint.file("checkpoint")),
        **{name: report.metadata[name] for name in names},
        "loss_reduction": row.get("loss_reduction"),
        "verdict": row.get("verdict"),
        **{name: row.get(name, "") for name in ("reason", "remark")},
    }


def _reported(resolver: CellResolver, cell: Cell) -> dict[str, Any]:
    """The path of the cell's report, which is written, and its verdict in sentences."""
    from faq_pipeline.reporting.page import write_page

    with memoizing():
        page, sentences = write_page(resolver, cell)
    return {"summary": sentences, "report": str(page)}
