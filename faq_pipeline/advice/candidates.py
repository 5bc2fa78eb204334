"""The calibration sets that are compared: a recipe with another source, selection and token budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faq_pipeline.calibration.selectors import find_selector
from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.files import Sources
from faq_pipeline.config.recipe import AUTO, DRAW, ORIGINAL, RANDOM, SELF, TEACHER, Recipe
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.errors import FaqError, nearest_and_known
from faq_pipeline.quantization.methods import needs_calibration
from faq_pipeline.settings import Settings

MOST_TOKENS = 8192
"""Budget of the sets that are compared, where the recipe's is larger: enough to rank them."""
MOST_GROUP = 64

RAW, CHAT = "original-raw", "original-templated"
SOURCES = (SELF, TEACHER, CHAT, RAW, RANDOM)
"""Sources that are named without a recipe. `random` is a control, taken only where it is asked for."""
_UNREGENERATED: dict[str, Any] = {"teacher": None, "candidates": 1, "sampling": None, "endpoint": None}
_ANY: dict[str, Any] = {"selection": "random", "experts": None, "judge": None}
_EXPERTS = {"answer": 1.0, "length": 0.25, "degeneration": 1.0}
"""Of a recipe that names none, where its candidates are to compete: none of them runs a model."""


@dataclass(frozen=True)
class Comparison:
    """What is to be compared.

    Attributes:
        sources: as `SOURCES`, `self:K` and `teacher:K` for K candidates that compete, or names of recipes;
            empty for all that the family can make.
        selections: `draw`, or names of selectors.
        budgets: tokens of the sets; empty for the recipe's, at most `MOST_TOKENS`.
        seeds: how many are drawn; None for as many of the recipe's as its budget is scaled by.
    """

    sources: tuple[str, ...] = ()
    selections: tuple[str, ...] = (DRAW,)
    budgets: tuple[int, ...] = ()
    seeds: int | None = None


@dataclass(frozen=True)
class Candidate:
    """One set to compare.

    Attributes:
        cell: makes the set that is measured.
        whole: makes the set that is to be used: of the recipe's budget or of that which was asked for, with
            as many seeds a token as the recipe has.
    """

    source: str
    selection: str
    tokens: int
    cell: Cell
    whole: Cell


def candidates(
    settings: Settings, member: str, recipe: str, comparison: Comparison
) -> tuple[list[Candidate], list[str]]:
    """The candidates, and notes on sources that the family cannot make.

    Raises:
        FaqError: a name is unknown, a number is out of range, the recipe is for another family or uses no
            data, or a source that was asked for cannot be made.
    """
    base = settings.catalog.recipe(recipe)
    _check_recipe(settings.catalog, member, base)
    for selection in comparison.selections:
        find_selector(selection)
    budgets = comparison.budgets or (
        min(base.calibration.tokens, max(MOST_TOKENS, base.calibration.sequence_length)),
    )
    _check_sizes(base, budgets, comparison.seeds)
    share = min(1.0, max(budgets) / base.calibration.tokens)
    seeds = comparison.seeds or max(1, round(base.seeds.count * share))
    found: list[Candidate] = []
    notes: list[str] = []
    for source in comparison.sources or _defaults(base):
        try:
            made = [
                _candidate(
                    settings, base, member, source, selection, tokens, seeds, asked=bool(comparison.budgets)
                )
                for selection in comparison.selections
                for tokens in budgets
            ]
        except FaqError as error:
            if comparison.sources:
                raise
            notes.append(f"no source {source}: {error.problem}")
            continue
        found += made
    if not found:
        raise FaqError(f"no source can be made for {member!r}: {notes[0]}")
    return found, notes


def _check_recipe(catalog: Catalog, member: str, base: Recipe) -> None:
    family, _ = catalog.member(member.partition("@")[0])
    if family.name not in base.families:
        known = sorted(name for name, one in catalog.recipes.items() if family.name in one.families)
        raise FaqError(
            f"recipe {base.name!r} is for {', '.join(base.families)},"
            f" and {member!r} is of family {family.name!r}",
            hint=f"--recipe {known[0]}, for example" if known else f"write a recipe for {family.name}",
        )
    if not needs_calibration(base.quantization):
        raise FaqError(
            f"recipe {base.name!r} quantizes without calibration data", hint="advice is on calibration data"
        )


def _defaults(base: Recipe) -> tuple[str, ...]:
    """All sources but the control; candidates that compete where the recipe has some."""
    group = base.regeneration.candidates
    more = (f"{TEACHER}:{group}",) if group > 1 else ()
    return SELF, TEACHER, *more, CHAT, RAW


def _candidate(
    settings: Settings,
    base: Recipe,
    member: str,
    source: str,
    selection: str,
    tokens: int,
    seeds: int,
    *,
    asked: bool,
) -> Candidate:
    catalog = settings.catalog
    named = base.name if _is_built_in(source) else _recipe_of(catalog, source)
    own = {} if named == source else _layer(base, source)
    form = {"selection": selection, "sequence_length": base.calibration.sequence_length}

    def cell(count: int, budget: int) -> Cell:
        size = {"calibration": {**form, "tokens": budget}, "seeds": {"count": count}}
        layers: list[tuple[dict[str, Any], Sources]] = [(own, []), (size, []), ({"baselines": None}, [])]
        made = catalog.recipe_with(named, layers).model_copy(update={"draw": base.draw})
        return resolve_cell(catalog, member, made, settings.device, settings.digests)

    whole, its = tokens if asked else base.calibration.tokens, catalog.recipe(named)
    count = max(1, round(its.seeds.count * whole / its.calibration.tokens))
    return Candidate(source, selection, tokens, cell(seeds, tokens), cell(count, whole))


def _layer(base: Recipe, source: str) -> dict[str, Any]:
    """What a built-in source changes in the recipe."""
    name, _, group = source.partition(":")
    if name in (RAW, CHAT, RANDOM):
        kind = RANDOM if name == RANDOM else ORIGINAL
        return {
            "regeneration": {**_UNREGENERATED, "source": kind},
            "competition": _ANY,
            "calibration": {
                "template": "chat" if name == CHAT else "raw",
                "originals": None,
                "reasoning": None,
            },
        }
    own = base.regeneration
    layer: dict[str, Any] = {"source": name, "candidates": int(group or 1)}
    if name == SELF:
        layer |= {"teacher": None, "allow_cross_family": None}
    elif own.source != TEACHER:
        layer |= {"teacher": AUTO}
    if own.sampling is None:
        layer |= {"sampling": {"max_new_tokens": base.evaluation.max_new_tokens}}
    found: dict[str, Any] = {"regeneration": layer, "calibration": {"template": "chat"}}
    if not base.competition.experts:
        found["competition"] = {"selection": "experts", "experts": _EXPERTS}
    return found


def _is_built_in(source: str) -> bool:
    """Whether the source has a layer of its own.

    Raises:
        FaqError: K is no number of candidates.
    """
    name, colon, group = source.partition(":")
    if not colon or name not in (SELF, TEACHER):
        return source in SOURCES
    if not group.isdecimal() or not 1 <= int(group) <= MOST_GROUP:
        raise FaqError(f"source {source!r}: {group!r} is no number of candidates", hint=f"1 to {MOST_GROUP}")
    return True


def _recipe_of(catalog: Catalog, source: str) -> str:
    try:
        return catalog.recipe(source).name
    except FaqError as error:
        if error.file is not None:  # it is a recipe, and broken
            raise
        hint = f"{nearest_and_known(source, SOURCES)}, {SELF}:K, {TEACHER}:K, or a recipe"
        raise FaqError(f"unknown source {source!r}", hint=hint) from None


def _check_sizes(base: Recipe, budgets: Sequence[int], seeds: int | None) -> None:
    longest = base.calibration.sequence_length
    for tokens in budgets:
        if tokens < longest:
            raise FaqError(
                f"a budget of {tokens} tokens is less than one sequence of recipe {base.name!r}",
                hint=f"at least {longest}",
            )
    if seeds is not None and seeds < 1:
        raise FaqError(
            f"--seeds {seeds}: at least one seed is drawn", hint=f"the recipe draws {base.seeds.count}"
        )
