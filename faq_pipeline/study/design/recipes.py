"""The recipes of a study: base recipe, quantizer, evaluation split and arm laid upon each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml.comments import CommentedMap

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.files import Sources
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.config.study import Sections, Study
from faq_pipeline.config.yaml import place
from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.methods import find_method

Layers = list[tuple[Mapping[str, Any], Sources]]


@dataclass(frozen=True)
class Spec:
    """Names that choose a recipe of a study."""

    family: str
    arm: str
    quantizer: str
    split: str


@dataclass(frozen=True)
class StudyRecipes:
    """Recipes of a study by their spec; each is merged and checked once."""

    catalog: Catalog
    study: Study
    sources: Sources
    _known: dict[Spec, Recipe] = field(default_factory=dict)

    def specs(self, split: str) -> list[Spec]:
        """All that the study has: families, arms and quantizers in the order of the file."""
        study = self.study
        return [
            Spec(family, arm, quantizer, split)
            for family in study.families
            for arm, own in study.arms_of(family).items()
            for quantizer in own.quantizers or study.quantizers
        ]

    def recipe(self, spec: Spec) -> Recipe:
        """The recipe of an arm under a quantizer, at draw 0.

        Raises:
            FaqError: naming file and line of the layer that is wrong; or an unknown method.
        """
        if spec not in self._known:
            recipe = self.catalog.recipe_with(self._base(spec), self._layers(spec))
            with self.attach_location(spec):
                find_method(recipe.quantization.method)  # whether there are draws depends on it
            self._known[spec] = recipe
        return self._known[spec]

    @contextmanager
    def attach_location(self, spec: Spec) -> Iterator[None]:
        """Errors that name a key of the recipe leave with the file and line of the study that set it."""
        try:
            yield
        except FaqError as error:
            if not error.key:
                raise
            sources = [one for _, its in reversed(self._layers(spec)) for one in its] or self.sources
            file, line = place(error.key.split("."), sources)
            problem = f"arm {spec.arm!r}, quantizer {spec.quantizer!r}: {error.where}{error.problem}"
            raise FaqError(problem, hint=error.hint, file=file, line=line) from error

    def _base(self, spec: Spec) -> str:
        """The recipe that the arm starts from, which must be there and for the family."""
        own = self.study.arms[spec.arm].recipe
        where = ("arms", spec.arm, "recipe") if own else ("families", spec.family, "recipe")
        name = own or self.study.families[spec.family].recipe
        file, line = place(where, self.sources)
        try:
            base = self.catalog.recipe(name)
        except FaqError as error:
            if error.file is not None:
                raise
            raise FaqError(error.problem, hint=error.hint, file=file, line=line) from None
        if spec.family not in base.families:
            problem = f"recipe {name!r} is for {', '.join(base.families)}, not for {spec.family!r}"
            raise FaqError(problem, hint="name another", file=file, line=line)
        return name

    def _layers(self, spec: Spec) -> Layers:
        study, part, own = self.study, self.study.families[spec.family], self.study.arms[spec.arm]
        name = {"name": f"{study.name}.{spec.arm}.{spec.quantizer}", "title": own.title}
        limit = {} if study.accuracy.questions is None else {"limit": study.accuracy.questions}
        split = ("families", spec.family, "splits", spec.split)
        layers: Layers = [
            (_sections(study.base), under(self.sources, "base")),
            self._section("quantization", study.quantizers[spec.quantizer], "quantizers", spec.quantizer),
            self._section("evaluation", part.splits[spec.split], *split),
            (_sections(own), under(self.sources, "arms", spec.arm)),
            ({**name, "families": [spec.family], "baselines": None, "evaluation": limit}, []),
        ]
        if own.families is not None:
            there = under(self.sources, "arms", spec.arm, "families", spec.family)
            layers.insert(4, (_sections(own.families[spec.family]), there))
        return layers

    def _section(
        self, section: str, overlay: Mapping[str, Any], *where: str
    ) -> tuple[Mapping[str, Any], Sources]:
        """A layer of one section of the recipe, and the parsed trees as if they held that section."""
        trees = under(self.sources, *where)
        return {section: overlay}, [(path, CommentedMap({section: tree})) for path, tree in trees]


def under(sources: Sources, *where: str) -> Sources:
    """The parsed trees below a place, of those files that have it."""
    found: Sources = []
    for path, tree in sources:
        node: Any = tree
        for key in where:
            node = node.get(key) if isinstance(node, CommentedMap) else None
        if isinstance(node, CommentedMap):
            found.append((path, node))
    return found


def _sections(own: Sections) -> dict[str, Any]:
    """The sections that are laid upon a recipe."""
    return own.model_dump(include={*Sections.model_fields, "evaluation"}, exclude_defaults=True)
