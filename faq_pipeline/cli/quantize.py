"""`faq quantize` and `faq init`: from a model folder or hub id to a checkpoint, by one command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faq_pipeline.cli.display import print_json, say, wrapped
from faq_pipeline.cli.options import AssumeMemoryOption, DeviceOption, JsonOption
from faq_pipeline.cli.quantize_arguments import (
    BaselinesOption,
    MethodOption,
    ModelArgument,
    SchemeOption,
    SeedsOption,
    SetOption,
    SizeOption,
    TasksOption,
    TeacherOption,
    TemplateOption,
    as_options,
)
from faq_pipeline.core import stage_names
from faq_pipeline.errors import FaqError
from faq_pipeline.quickstart.prepare import Prepared, prepare
from faq_pipeline.quickstart.written_files import WrittenFiles
from faq_pipeline.settings import Settings
from faq_pipeline.util.garbage import rare_collections
from faq_pipeline.util.interruption import sigterm_interrupts
from faq_pipeline.util.memoize import memoizing

if TYPE_CHECKING:
    from faq_pipeline.core.cell import Cell
    from faq_pipeline.execution.cell_resolver import CellResolver


def init(
    model: ModelArgument,
    seeds: SeedsOption = "",
    scheme: SchemeOption = "W4A16",
    size: SizeOption = "",
    method: MethodOption = "",
    teacher: TeacherOption = "",
    chat_template: TemplateOption = "",
    tasks: TasksOption = "",
    baselines: BaselinesOption = True,
    set_: SetOption = None,
    device: DeviceOption = "",
    json: JsonOption = False,
) -> None:
    """Write the family and the recipe for a model, to be read and edited before `faq run`."""
    settings = _settings(device)
    options = as_options(model, seeds, scheme, size, method, teacher, chat_template, tasks, baselines, set_)
    prepared = prepare(settings, options, by="faq init")
    if json:
        print_json(_as_json(prepared))
        return
    _show(prepared)
    say(f"next: faq run --member {prepared.member} --recipe {prepared.recipe}")


def quantize(
    model: ModelArgument,
    seeds: SeedsOption = "",
    scheme: SchemeOption = "W4A16",
    size: SizeOption = "",
    method: MethodOption = "",
    teacher: TeacherOption = "",
    chat_template: TemplateOption = "",
    tasks: TasksOption = "",
    evaluate: Annotated[
        bool, typer.Option("--eval/--no-eval", help="Compare the checkpoint with the unquantized model.")
    ] = True,
    baselines: BaselinesOption = True,
    set_: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="New folder for the checkpoint; ./MODEL-SCHEME or ./MODEL-METHOD-SCHEME.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be made and its estimated cost.")
    ] = False,
    assume_memory: AssumeMemoryOption = None,
    device: DeviceOption = "",
    json: JsonOption = False,
) -> None:
    """Quantize a model with calibration data that a larger one of its family writes, or it itself.

    Finished stages are reused: an interrupted command continues where it stopped.
    """
    from faq_pipeline.cli.dry_run import show_plan
    from faq_pipeline.cli.run import planned_memory, wanted_cells
    from faq_pipeline.execution.cell_resolver import CellResolver
    from faq_pipeline.quickstart.deliver import check_folder_free

    with planned_memory(assume_memory, dry_run=dry_run):
        settings = _settings(device)
        options = as_options(
            model, seeds, scheme, size, method, teacher, chat_template, tasks, baselines and evaluate, set_
        )
        with rare_collections():
            # A call that is refused or interrupted, and a dry run, leave the files as they were.
            record = WrittenFiles()
            with sigterm_interrupts(), record:
                prepared = prepare(settings, replace(options, judged=evaluate), record=record)
                folder = out or Path(prepared.folder)
                resolver = CellResolver(settings.reread())
                with memoizing():
                    cells = wanted_cells(resolver, prepared.member, prepared.recipe)
                check_folder_free(resolver.settings, cells[-2:], folder)
                if dry_run:
                    if not json:
                        _show(prepared, "would be written")
                    unwanted = () if evaluate else (stage_names.REFERENCE_EVAL, stage_names.EVAL_REPORT)
                    show_plan(resolver.settings, cells, json=json, unwanted=unwanted)
                    record.undo()
                    return
            if not json:
                _show(prepared)
            _run(resolver, prepared, cells, folder, evaluate=evaluate, json=json)


def _run(
    resolver: CellResolver, prepared: Prepared, cells: list[Cell], folder: Path, *, evaluate: bool, json: bool
) -> None:
    from faq_pipeline.cli.figures import show_figures
    from faq_pipeline.quickstart.deliver import deliver

    settings = resolver.settings
    last = stage_names.EVAL_REPORT if evaluate else stage_names.QUANTIZED_CHECKPOINT
    finished, result = _finished(resolver, cells, last)
    instead_of = None if finished == cells else cells[-1]
    delivered = deliver(settings, finished, folder, evaluated=evaluate, instead_of=instead_of)
    if json:
        print_json({**_as_json(prepared), **result, **delivered.as_dict()})
        return
    if evaluate:
        show_figures(result)
    for note in result["notes"]:
        wrapped(f"note: {', '.join(note['recipes'])}, {note['asset']}: {note['note']}")
    for line in delivered.lines():
        wrapped(line)


def _finished(resolver: CellResolver, cells: list[Cell], last: str) -> tuple[list[Cell], dict[str, Any]]:
    """The cells that were run to their end, and what they tell.

    Where regeneration leaves too few samples for the last one, they are the baselines alone, which were
    made on the way: a checkpoint is there, in the chat template, if not the one that was asked for.

    Raises:
        FaqError: as `execute`; or too few samples, and no baselines.
    """
    from faq_pipeline.calibration.fill import TOO_LITTLE
    from faq_pipeline.cli.run import execute

    try:
        return cells, execute(resolver, cells, last)
    except FaqError as error:
        if error.key != TOO_LITTLE or len(cells) == 1:
            raise
        result = execute(resolver, cells[:-1], last)
        note = {"recipes": [cells[-1].recipe.name], "asset": stage_names.CALIBRATION_SET, "note": str(error)}
        result["notes"].append(note)
        return cells[:-1], result


def _settings(device: str) -> Settings:
    settings = Settings.from_environment()
    return replace(settings, device=device) if device else settings


def _as_json(prepared: Prepared) -> dict[str, Any]:
    return {
        "member": prepared.member,
        "recipe": prepared.recipe,
        "files": [str(path) for path in prepared.files],
        "choices": list(prepared.notes),
    }


def _show(prepared: Prepared, done: str = "written") -> None:
    for note in prepared.notes:
        wrapped(note)
    for path in prepared.files:
        say(f"{done}: {path}")
