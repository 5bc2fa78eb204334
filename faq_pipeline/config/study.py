"""A study: arms x quantizers x draws on some targets, and the questions that are asked of them.

What is read from the file is checked here against itself; what needs recipes and members is checked
in `study.design`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, WithJsonSchema, model_validator

from faq_pipeline.config.yaml import Strict

Overlay = dict[str, Any]
"""Keys of a recipe's section, laid upon what is there: mappings merge, a null takes a key away."""
SECTION = "x-recipe-section"
"""Key of a JSON Schema that names the section which an overlay is laid upon."""


def _section(name: str) -> WithJsonSchema:
    described = f"Laid upon the section `{name.lower()}` of the recipe."
    return WithJsonSchema({"type": "object", SECTION: name, "description": described})


SeedsOverlay = Annotated[Overlay, _section("Seeds")]
RegenerationOverlay = Annotated[Overlay, _section("Regeneration")]
CompetitionOverlay = Annotated[Overlay, _section("Competition")]
CalibrationOverlay = Annotated[Overlay, _section("Calibration")]
QuantizationOverlay = Annotated[Overlay, _section("Quantization")]
EvaluationOverlay = Annotated[Overlay, _section("Evaluation")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
"""Part of the names of recipes, files and tables."""
Names = Annotated[list[str], Field(min_length=1)]

Control = Literal[
    "original-raw", "original-chat", "self", "teacher-one", "random-of-k", "random-tokens", "rtn"
]


class Part(Strict):
    """What a study does with one family."""

    recipe: str
    """The base recipe, which arms and quantizers are laid upon."""
    members: Names
    """Targets, all of the family."""
    splits: Annotated[dict[Name, EvaluationOverlay], Field(min_length=1)]
    """What is asked in each evaluation split, laid upon the recipe's `evaluation`."""


class Sections(Strict):
    """Parts of a recipe that an arm may lay upon the base recipe."""

    seeds: SeedsOverlay = {}
    regeneration: RegenerationOverlay = {}
    competition: CompetitionOverlay = {}
    calibration: CalibrationOverlay = {}
    quantization: QuantizationOverlay = {}
    """Laid upon the quantizer's."""


class Base(Sections):
    """What a study changes in the base recipe of every family, for all arms."""

    evaluation: EvaluationOverlay = {}


class Arm(Sections):
    """One way to make calibration data."""

    title: str
    """What it is called in tables."""
    recipe: str | None = None
    """A recipe to start from in the place of the family's base recipe."""
    why: str = ""
    """Why its seeds or its token budget are others than the headline arm's."""
    families: dict[str, Sections] | None = None
    """Families that it is for, each with what is laid on top there; all where absent."""
    quantizers: Names | None = None
    """All where absent."""
    draws: PositiveInt | None = None
    """Only the first so many of the study's draws, for an arm that costs much; all where absent. The headline
    arm and the originals have all."""


class Originals(Strict):
    """The arms that pass the seeds through."""

    raw: str
    """The arm that passes the seeds as they are."""
    chat: str
    """The arm that passes them in the chat template."""

    @property
    def both(self) -> tuple[str, str]:
        """Raw first."""
        return self.raw, self.chat


class Pair(Strict):
    """Two arms that are compared, draw by draw and question by question."""

    arm: str
    """The arm that is judged."""
    than: str
    """The arm that it is compared with."""
    isolates: str
    """In a word, what the difference is due to: regeneration, family, competition, ..."""
    quantizers: Names | None = None
    """Under which they are compared; all where absent."""
    members: Names | None = None
    """On which they are compared; all where absent."""


class JudgedCells(Strict):
    """Arms that answer the questions under these quantizers; all where absent."""

    arms: Names | None = None
    """Names of arms."""
    quantizers: Names | None = None
    """Names of quantizers."""

    def holds(self, arm: str, quantizer: str) -> bool:
        """Whether it names both."""
        return (self.arms is None or arm in self.arms) and (
            self.quantizers is None or quantizer in self.quantizers
        )


class Accuracy(Strict):
    """Which cells answer the questions; of all others only the divergence is measured."""

    questions: PositiveInt | None = None
    """The first so many of each task; all where absent."""
    cells: Annotated[list[JudgedCells], Field(min_length=1)]
    """The cells that answer."""


class Primary(Strict):
    """Which cells the headline is formed over: those where the better original's loss exceeds `times`
    its noise floor, on draws (and, if told, on questions) that the headline does not see."""

    draws: Annotated[list[NonNegativeInt], Field(min_length=1)]
    """Draws that the cells are chosen by; none of the study's own. The noise floor of one draw counts the
    questions alone."""
    times: PositiveFloat = 3.0
    """By how many noise floors the loss must exceed it."""
    split: str | None = None
    """The study's own where absent."""


class Study(Strict):
    """One study."""

    name: Name
    """The file's name without `.yaml`."""
    title: str
    """What it is, in a line."""
    families: Annotated[dict[str, Part], Field(min_length=1)]
    """What is done with each family, by its name."""
    base: Base = Base()
    """Changes of the base recipe of every family, for all arms."""
    split: str
    """The evaluation split that the cells are judged on."""
    draws: Annotated[int, Field(ge=2, le=10_000)] | Annotated[list[NonNegativeInt], Field(min_length=2)]
    """How many (from 0 on), or which."""
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    """Ways to make calibration data, by name."""
    quantizers: Annotated[dict[Name, QuantizationOverlay], Field(min_length=1)]
    """Laid upon the base recipe's `quantization`."""
    headline: str
    """The arm whose loss reduction is the study's headline."""
    originals: Originals
    """The arms with the original data, which the headline is measured against."""
    accuracy: Accuracy
    """Which cells answer the questions."""
    primary: Primary
    """Which cells the headline is formed over."""
    pairs: list[Pair] = []
    """Arms that are compared."""
    without: dict[Control, str] = {}
    """Controls that the study does without, each with the reason."""

    @property
    def draw_numbers(self) -> tuple[int, ...]:
        """The draws, in order."""
        return tuple(range(self.draws) if isinstance(self.draws, int) else self.draws)

    @property
    def members(self) -> tuple[str, ...]:
        """All targets."""
        return tuple(member for part in self.families.values() for member in part.members)

    def judged(self, arm: str, quantizer: str) -> bool:
        """Whether the cells of an arm and a quantizer answer the questions."""
        return any(cells.holds(arm, quantizer) for cells in self.accuracy.cells)

    def arms_of(self, family: str) -> dict[str, Arm]:
        """The arms that a family has."""
        return {
            name: arm for name, arm in self.arms.items() if arm.families is None or family in arm.families
        }

    @model_validator(mode="after")
    def _check_draws(self) -> Self:
        numbers = self.draw_numbers
        if len(set(numbers)) < len(numbers) or len(set(self.primary.draws)) < len(self.primary.draws):
            raise ValueError("a draw is listed twice")
        if both := sorted({*numbers} & {*self.primary.draws}):
            raise ValueError(
                f"draw {both[0]} is among 'draws' and 'primary.draws': cells that are chosen by the draws"
                " that they are then judged by look better than they are"
            )
        return self


def names_used(study: Study) -> Iterator[tuple[tuple[str | int, ...], str, Collection[str], str]]:
    """Names that must be defined elsewhere in the study: (place, kind, where it is defined, name)."""
    arms, quantizers, families = study.arms, study.quantizers, study.families
    yield ("headline",), "arm", arms, study.headline
    for key, name in (("raw", study.originals.raw), ("chat", study.originals.chat)):
        yield ("originals", key), "arm", arms, name
    for arm_name, arm in arms.items():
        for family in arm.families or ():
            yield ("arms", arm_name, "families", family), "family", families, family
        yield from _each(("arms", arm_name, "quantizers"), "quantizer", quantizers, arm.quantizers)
    for index, pair in enumerate(study.pairs):
        yield ("pairs", index, "arm"), "arm", arms, pair.arm
        yield ("pairs", index, "than"), "arm", arms, pair.than
        yield from _each(("pairs", index, "quantizers"), "quantizer", quantizers, pair.quantizers)
        yield from _each(("pairs", index, "members"), "member", study.members, pair.members)
    for index, cells in enumerate(study.accuracy.cells):
        yield from _each(("accuracy", "cells", index, "arms"), "arm", arms, cells.arms)
        yield from _each(
            ("accuracy", "cells", index, "quantizers"), "quantizer", quantizers, cells.quantizers
        )
    for family, part in families.items():
        yield ("families", family, "splits"), "split", part.splits, study.split
        if study.primary.split is not None:
            yield ("families", family, "splits"), "split", part.splits, study.primary.split


def wrong_draws(study: Study) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Arms whose `draws` the study cannot mean: (place, problem, hint)."""
    roles = dict.fromkeys(study.originals.both, "an original") | {study.headline: "the headline arm"}
    total = len(study.draw_numbers)
    for name, arm in study.arms.items():
        if arm.draws is None:
            continue
        where = ("arms", name, "draws")
        if name in roles:
            # The headline and most pairs rest on it: they would shrink with it.
            problem = f"arm {name!r} is {roles[name]}, and must have all draws of the study"
            yield where, problem, "remove 'draws' from it, or write draws: null where it is inherited"
        elif arm.draws > total:
            yield (
                where,
                f"arm {name!r} has {arm.draws} draws, and the study has {total}",
                f"name at most {total}, or raise the study's 'draws'",
            )


def _each(
    place: tuple[str | int, ...], kind: str, known: Collection[str], names: list[str] | None
) -> Iterator[tuple[tuple[str | int, ...], str, Collection[str], str]]:
    for index, name in enumerate(names or ()):
        yield (*place, index), kind, known, name
