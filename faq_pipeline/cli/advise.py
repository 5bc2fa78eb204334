"""`faq advise`: which calibration data to take, told before anything is quantized."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faq_pipeline.cli.display import out, print_json, seconds, table, wrapped
from faq_pipeline.cli.options import DEFAULT_RECIPE, DeviceOption, JsonOption, RecipeOption
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
    selections: SelectionsOption = "draw",
    budgets: BudgetsOption = "",
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds", help="Seeds that each set is made of; by default in proportion to the budget."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be made and its estimated cost.")
    ] = False,
    device: DeviceOption = "",
    json: JsonOption = False,
) -> None:
    """Rank calibration data for a member by what it will cost in KL, before anything is quantized.

    Makes a small calibration set of each source, and measures it in the target. Sets are cached.
    """
    from faq_pipeline.advice.candidates import Wish, candidates
    from faq_pipeline.advice.measure import check_candidates
    from faq_pipeline.execution.cell_resolver import CellResolver

    settings = Settings.from_environment()
    if device:
        settings = replace(settings, device=device)
    wish = Wish(_names(sources), _names(selections), _numbers(budgets), seeds)
    with rare_collections():
        with memoizing():
            resolver = CellResolver(settings)
            found, notes = candidates(resolver, member, recipe, wish)
            check_candidates(settings, found)
        if dry_run:
            _show_plan(settings, found, notes, json=json)
            return
        measured, more = _measured(settings, found)
    _show(measured, [*notes, *more], json=json)


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
    from faq_pipeline.util.progress import Progress

    display = bars()

    def listener(candidate: Candidate, stage: Stage) -> Progress:
        for task in list(display.task_ids):
            display.remove_task(task)
        return TerminalListener(display, f"{candidate.source}: {stage.name}")

    with display:
        return measure(settings, found, listener)


def _show(measured: list[Measured], notes: list[str], *, json: bool) -> None:
    ranked = sorted(measured, key=lambda one: one.figure)
    found = [one.candidate for one in ranked]
    first = ranked[0]
    cell = first.candidate.cell
    if json:
        content = {
            "member": cell.target.partition,
            "recipe": cell.recipe.name,
            "choice": _named(first.candidate),
            "candidates": [_row(one) for one in ranked],
            "notes": notes,
        }
        print_json(content)
        return
    rows = [
        [
            str(place),
            *_differing(one.candidate, found),
            f"{one.fitness:.4f}",
            f"{one.sampled_tokens:,}",
            "" if one.seconds is None else seconds(one.seconds),
        ]
        for place, one in enumerate(ranked, 1)
    ]
    columns = ["", *_columns(found), "fitness", "to sample", "time"]
    title = f"{cell.target.partition}, {cell.recipe.name}, {_common(found)}: best first"
    console = out()
    console.print(table(title, columns, rows), width=min(console.width, 80))
    for note in notes:
        wrapped(f"note: {note}")
    wrapped(f"choice: {_said(first.candidate, found)}")


def _varied(found: list[Candidate]) -> tuple[bool, bool]:
    """Whether selections differ, and whether budgets do."""
    return len({one.selection for one in found}) > 1, len({one.tokens for one in found}) > 1


def _columns(found: list[Candidate]) -> list[str]:
    selections, budgets = _varied(found)
    return ["source", *(["selection"] if selections else []), *(["budget"] if budgets else [])]


def _differing(one: Candidate, found: list[Candidate]) -> list[str]:
    """What tells a candidate from the others, as cells of `_columns`."""
    selections, budgets = _varied(found)
    return [one.source, *([one.selection] if selections else []), *([f"{one.tokens:,}"] if budgets else [])]


def _common(found: list[Candidate]) -> str:
    """What all candidates share, in words."""
    selections, budgets = _varied(found)
    words = [] if budgets else [f"{found[0].tokens:,} tokens"]
    return ", ".join(words + ([] if selections else [f"seeds by {found[0].selection}"]))


def _said(one: Candidate, found: list[Candidate]) -> str:
    """A candidate in words."""
    return ", ".join(
        f"{name} {value}" for name, value in zip(_columns(found), _differing(one, found), strict=True)
    )


def _named(candidate: Candidate) -> dict[str, Any]:
    return {"source": candidate.source, "selection": candidate.selection, "budget": candidate.tokens}


def _row(one: Measured) -> dict[str, Any]:
    return {
        **_named(one.candidate),
        "fitness": one.fitness,
        "tokens": one.tokens,
        "sampled_tokens": one.sampled_tokens,
        "seconds": one.seconds,
        "calibration_set": one.calibration_set,
    }


def _show_plan(settings: Settings, found: list[Candidate], notes: list[str], *, json: bool) -> None:
    from faq_pipeline.advice.stages import ADVICE_STAGES
    from faq_pipeline.cli.dry_run import plan_summary, planned_rows

    rows = planned_rows(settings, [one.cell for one in found], ADVICE_STAGES)
    count = len(ADVICE_STAGES)
    for index, row in enumerate(rows):
        row |= _named(found[index // count])
    if json:
        print_json({"plan": rows, "notes": notes})
        return
    shown = []
    for one, start in zip(found, range(0, len(rows), count), strict=True):
        missing = [row for row in rows[start : start + count] if row["cache"] == "miss"]
        times = [row["seconds"] for row in missing]
        known = [time for time in times if time is not None]
        shown.append(
            [
                *_differing(one, found),
                f"{len(missing)}/{count}",
                f"{sum(row['tokens'] or 0 for row in missing):,}",
                seconds(sum(known)) + ("" if len(known) == len(times) else " + ?"),
            ]
        )
    columns = [*_columns(found), "to make", "tokens at most", "time"]
    console = out()
    title = f"{found[0].cell.target.partition}, {_common(found)}: what advice would make"
    console.print(table(title, columns, shown), width=min(console.width, 80))
    for note in notes:
        wrapped(f"note: {note}")
    console.print(plan_summary(rows))
