"""Checks of a study's design: required controls and equal budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from faq_pipeline.config.files import Sources
from faq_pipeline.config.recipe import ORIGINAL, RANDOM, SELF, TEACHER, Recipe
from faq_pipeline.config.study import Control, Study
from faq_pipeline.config.yaml import place
from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.methods import needs_calibration
from faq_pipeline.study.design.recipes import Spec

Recipes = Mapping[Spec, Recipe]


def has_draws(recipe: Recipe) -> bool:
    """Whether the recipe's checkpoint depends on the draw. It does not if the method uses no data."""
    return needs_calibration(recipe.quantization)


def _source(name: str, **more: Any) -> Callable[[Recipe], bool]:
    """A predicate: the recipe's candidates come from that source, and its calibration has these fields."""
    return lambda recipe: (
        has_draws(recipe)
        and recipe.regeneration.source == name
        and all(getattr(recipe.calibration, key) == value for key, value in more.items())
    )


CONTROLS: dict[Control, tuple[str, Callable[[Recipe], bool]]] = {
    "original-raw": ("the seeds as they are", _source(ORIGINAL, template="raw")),
    "original-chat": ("the seeds in the chat template", _source(ORIGINAL, template="chat")),
    "self": ("the target as its own teacher", _source(SELF)),
    "teacher-one": (
        "one sample of the teacher a seed",
        lambda r: _source(TEACHER)(r) and r.regeneration.candidates == 1,
    ),
    "random-of-k": (
        "a random candidate of each group",
        lambda r: (
            _source(TEACHER)(r) and r.regeneration.candidates > 1 and r.competition.selection == "random"
        ),
    ),
    "random-tokens": ("random tokens", _source(RANDOM)),
    "rtn": ("round to nearest", lambda r: not has_draws(r)),
}
"""For each control, a description and a predicate that recognizes its recipe."""


def check_controls(study: Study, recipes: Recipes, sources: Sources) -> None:
    """Check that every family has every control under every quantizer, with the headline's seeds and budget.

    Raises:
        FaqError: a control is missing and not listed under `without`, or an arm named in `originals`
            does not use the original data.
    """
    for name, key in ((study.originals.raw, "original-raw"), (study.originals.chat, "original-chat")):
        for spec, recipe in recipes.items():
            if spec.arm == name and not CONTROLS[key][1](recipe):  # type: ignore[index]
                raise _error(f"arm {name!r} is not {key}", "see 'originals'", sources, "originals", key[9:])
    for control, (what, is_it) in CONTROLS.items():
        if control in study.without:
            continue
        for headline in (spec for spec in recipes if spec.arm == study.headline):
            if not any(
                spec.family == headline.family
                and spec.quantizer == headline.quantizer
                and is_it(recipe)
                and not _unequal(recipe, recipes[headline])
                for spec, recipe in recipes.items()
            ):
                raise _error(
                    f"no arm of family {headline.family!r} is the control {control!r} ({what}) under"
                    f" {headline.quantizer!r}",
                    f"add one, or give the reason under  without: {{{control}: ...}}",
                    sources,
                    "arms",
                )


def check_budgets(study: Study, recipes: Recipes, sources: Sources) -> None:
    """Check that arms have equal seeds and token budgets.

    Every arm must match the headline arm or give a reason (`why`); both arms of a pair must match.

    Raises:
        FaqError: an arm or a pair does not match.
    """
    for spec, recipe in recipes.items():
        headline = recipes.get(Spec(spec.family, study.headline, spec.quantizer, spec.split))
        if headline is None or study.arms[spec.arm].why:
            continue
        if what := _unequal(recipe, headline):
            section, key = what
            raise _error(
                f"arm {spec.arm!r} and the headline arm {study.headline!r} differ in {section}.{key}",
                "make them equal, or give the reason as  why:  in the arm",
                sources,
                *("arms", spec.arm, section, key),
            )
    for index, pair in enumerate(study.pairs):
        for spec, recipe in recipes.items():
            other = recipes.get(Spec(spec.family, pair.than, spec.quantizer, spec.split))
            if spec.arm == pair.arm and other is not None and (what := _unequal(recipe, other)):
                raise _error(
                    f"{pair.arm!r} and {pair.than!r} differ in {'.'.join(what)}, which would confound the"
                    " comparison",
                    "compare arms with equal seeds and budgets",
                    sources,
                    *("pairs", index),
                )


def _unequal(recipe: Recipe, other: Recipe) -> tuple[str, str] | None:
    """The first key in which seeds or budgets differ; None if they are equal or a method uses no data."""
    if not (has_draws(recipe) and has_draws(other)):
        return None
    for section, key in (("calibration", "tokens"), *(("seeds", k) for k in ("path", "dataset", "count"))):
        if getattr(getattr(recipe, section), key) != getattr(getattr(other, section), key):
            return section, key
    return None


def _error(problem: str, hint: str, sources: Sources, *where: str | int) -> FaqError:
    file, line = place(where, sources)
    return FaqError(problem, hint=hint, file=file, line=line)
