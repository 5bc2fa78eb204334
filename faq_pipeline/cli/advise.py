"""`faq advise`: which calibration data to take, told before anything is quantized."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from faq_pipeline.cli.advice_tables import show_advice, show_advice_plan
from faq_pipeline.cli.options import DEFAULT_RECIPE, DeviceOption, JsonOption, RecipeOption
from faq_pipeline.config.recipe import DRAW
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import Settings
from faq_pipeline.util.garbage import rare_collections
from faq_pipeline.util.memoize import memoizing

if TYPE_CHECKING:
    from faq_pipeline.advice.candidates import Candidate
    from faq_pipeline.advice.measure import Measured

SourcesOption = Annotated[
    str,
    typer.Option(
        "--sources",
        help="Where calibration data may come from, comma-separated: self, teacher, original-templated,"
        " original-raw, random; self:4 or teacher:4 for candidates that compete; or recipes."
        " By default all that the family can make, but random.",
    ),
]
SelectionsOption = Annotated[
    str, typer.Option("--selections", help="Selections of seeds to compare: draw, fidelity, coverage, ...")
]
BudgetsOption = Annotated[
    str, typer.Option("--budgets", help="Token budgets to compare; by default the recipe's, at most 8,192.")
]


def advise(
    member: Annotated[str, typer.Argument(help="Target model: name of a member, or name@rev8.")],
    recipe: RecipeOption = DEFAULT_RECIPE,
    sources: SourcesOption = "",
    selections: SelectionsOption = DRAW,
    budgets: BudgetsOption = "",
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", help="Seeds that each set is made of; by default in proportion to the budget."
        ),
    ] = None,
    save: Annotated[
        str, typer.Option("--save", help="Write the choice as a recipe of this name, for faq run.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be made and its estimated cost.")
    ] = False,
    device: DeviceOption = "",
    json: JsonOption = False,
) -> None:
    """Rank calibration data for a member by what it will cost in KL, before anything is quantized.

    Makes a small calibration set of each source, and measures it in the target. Sets are cached.
    """
    from faq_pipeline.advice.candidates import Comparison, candidates
    from faq_pipeline.advice.choice import advice_on
    from faq_pipeline.advice.measure import check_candidates
    from faq_pipeline.quickstart.chosen_recipe import check_name, write_choice

    settings = Settings.from_environment()
    if device:
        settings = replace(settings, device=device)
    if save:
        check_name(settings, save, recipe)
    comparison = Comparison(_names(sources), _names(selections) or (DRAW,), _numbers(budgets), seeds)
    with rare_collections():
        with memoizing():
            found, notes = candidates(settings, member, recipe, comparison)
            check_candidates(settings, found)
        if dry_run:
            show_advice_plan(settings, found, recipe, notes, json=json)
            return
        measured, more = _measured(settings, found)
    advice = advice_on(measured, settings.catalog.recipe(recipe).quantization)
    written = write_choice(settings, advice.choice.candidate, save, advice.why) if save else None
    show_advice(advice, recipe, [*notes, *more], written, json=json)


def _names(text: str) -> tuple[str, ...]:
    """Comma-separated names, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(name) for name in _names(text))
    except ValueError:
        raise FaqError(f"--budgets {text!r}: not numbers of tokens", hint="for example 2048,8192") from None


def _measured(settings: Settings, found: list[Candidate]) -> tuple[list[Measured], list[str]]:
    from faq_pipeline.advice.measure import measure
    from faq_pipeline.cli.progress import TerminalListener, bars
    from faq_pipeline.core.stage import Stage
    from faq_pipeline.lineage.index import merge
    from faq_pipeline.util.progress import Progress

    display = bars()

    def listener(candidate: Candidate, stage: Stage) -> Progress:
        for task in list(display.task_ids):
            display.remove_task(task)
        return TerminalListener(display, f"{candidate.source}: {stage.name}")

    with display:
        measured = measure(settings, found, listener)
    merge(settings.store, settings.lineage)
    return measured
