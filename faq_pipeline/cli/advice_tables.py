"""The tables of `faq advise`, in 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faq_pipeline.advice.candidates import Candidate
from faq_pipeline.advice.choice import Advice
from faq_pipeline.advice.stages import ADVICE_STAGES
from faq_pipeline.cli.display import figure, out, print_json, seconds, table, wrapped
from faq_pipeline.cli.dry_run import WIDTH, plan_summary, planned_rows
from faq_pipeline.config.recipe import DRAW
from faq_pipeline.settings import Settings


def show_advice(
    advice: Advice, recipe: str, notes: Sequence[str], written: Path | None, *, json: bool
) -> None:
    """Print the ranking and the choice.

    Args:
        recipe: that quantizes.
        written: the file that the choice was written to, if it was.
    """
    if json:
        file = {"written": str(written)} if written else {}
        print_json({"recipe": recipe, **_as_json(advice, notes), **file})
        return
    found = [one.candidate for one in advice.measured]
    rows = [
        [
            str(place),
            *_differing(one.candidate, found),
            *([] if ratio is None else ["1" if place == 1 else figure(ratio.as_dict(), 2)]),
            f"{one.excess:.3f}",
            f"{one.sampled_tokens:,}",
            "" if one.seconds is None else seconds(one.seconds),
        ]
        for place, (one, ratio) in enumerate(zip(advice.measured, advice.ratios, strict=True), 1)
    ]
    predicted = advice.ratios[0] is not None
    columns = ["", *_columns(found), *(["KL / first"] if predicted else []), "excess", "to sample", "time"]
    wrapped(_heading(recipe, found))
    out().print(table(None, columns, rows, most=WIDTH))
    for note in (*notes, *advice.notes):
        wrapped(f"note: {note}")
    if advice.scatter:
        wrapped(
            f"KL / first is of KL on tasks, a mean over draws; single checkpoints scatter by a factor of"
            f" {advice.scatter:.2f}"
        )
    choice = advice.choice.candidate
    wrapped(f"choice: {_said(choice, found)} ({advice.why})")
    if written:
        wrapped(f"written: {written}")
        wrapped(f"use it: faq run --member {choice.whole.target.member.name} --recipe {written.stem}")


def show_advice_plan(
    settings: Settings, found: Sequence[Candidate], recipe: str, notes: Sequence[str], *, json: bool
) -> None:
    """Print what would be made, and its cost, one row a candidate."""
    rows = planned_rows(settings, [one.cell for one in found], ADVICE_STAGES)
    count = len(ADVICE_STAGES)
    for index, row in enumerate(rows):
        row |= _named(found[index // count])
    if json:
        print_json({"plan": rows, "notes": list(notes)})
        return
    shown = []
    for one, start in zip(found, range(0, len(rows), count), strict=True):
        missing = [row for row in rows[start : start + count] if row["cache"] == "miss"]
        known = [row["seconds"] for row in missing if row["seconds"] is not None]
        shown.append(
            [
                *_differing(one, found),
                f"{len(missing)}/{count}",
                f"{sum(row['tokens'] or 0 for row in missing):,}",
                " + ".join(
                    [
                        *([seconds(sum(known))] if known or not missing else []),
                        *([] if len(known) == len(missing) else ["?"]),
                    ]
                ),
            ]
        )
    columns = [*_columns(found), "to make", "tokens at most", "time"]
    wrapped(f"{_heading(recipe, found)}: what would be made")
    out().print(table(None, columns, shown, most=WIDTH))
    for note in notes:
        wrapped(f"note: {note}")
    wrapped(plan_summary(rows))


def _as_json(advice: Advice, notes: Sequence[str]) -> dict[str, Any]:
    cell = advice.choice.candidate.cell
    return {
        "member": cell.target.partition,
        "choice": _named(advice.choice.candidate),
        "why": advice.why,
        "candidates": [
            {
                **_named(one.candidate),
                "kl_ratio": None if ratio is None else ratio.as_dict(),
                "excess": one.excess,
                "fitness": one.fitness,
                "tokens": one.tokens,
                "sampled_tokens": one.sampled_tokens,
                "seconds": one.seconds,
                "calibration_set": one.calibration_set,
            }
            for one, ratio in zip(advice.measured, advice.ratios, strict=True)
        ],
        "notes": [*notes, *advice.notes],
    }


def _named(candidate: Candidate) -> dict[str, Any]:
    return {"source": candidate.source, "selection": candidate.selection, "budget": candidate.tokens}


def _varied(found: Sequence[Candidate]) -> tuple[bool, bool]:
    """Whether selections differ, and whether budgets do."""
    return len({one.selection for one in found}) > 1, len({one.tokens for one in found}) > 1


def _columns(found: Sequence[Candidate]) -> list[str]:
    selections, budgets = _varied(found)
    return ["source", *(["selection"] if selections else []), *(["budget"] if budgets else [])]


def _differing(one: Candidate, found: Sequence[Candidate]) -> list[str]:
    """What tells a candidate from the others, as cells of `_columns`."""
    selections, budgets = _varied(found)
    return [one.source, *([one.selection] if selections else []), *([f"{one.tokens:,}"] if budgets else [])]


def _heading(recipe: str, found: Sequence[Candidate]) -> str:
    """The member, the recipe, and what all candidates share."""
    selections, budgets = _varied(found)
    one, shared = found[0], [] if budgets else [f"sets of {found[0].tokens:,} tokens"]
    shared += [] if selections or one.selection == DRAW else [f"selection {one.selection}"]
    return ", ".join([one.cell.target.partition, recipe, *shared])


def _said(one: Candidate, found: Sequence[Candidate]) -> str:
    """A candidate in words."""
    return ", ".join(
        f"{name} {value}" for name, value in zip(_columns(found), _differing(one, found), strict=True)
    )
