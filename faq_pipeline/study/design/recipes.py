"""The recipes of a study: a base recipe overlaid with a quantizer, an evaluation split and an arm."""

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
    """The names that select a recipe of a study."""

    family: str
    arm: str
    quantizer: str
    split: str


@dataclass(frozen=True)
class StudyRecipes:
    """The recipes of a study by their spec. Each is merged and checked once."""

    catalog: Catalog
    study: Study
    sources: Sources
    _known: dict[Spec, Recipe] = field(default_factory=dict)

    def specs(self, split: str) -> list[Spec]:
        """All specs of the study: families, arms and quantizers in the order of the study file."""
        study = self.study
        return [
            Spec(family, arm, quantizer, split)
            for family in study.families
            for arm, own in study.arms_of(family).items()
            for quantizer in own.quantizers or study.quantizers
        ]

    def recipe(self, spec: Spec) -> Recipe:
        """The recipe of a spec, for draw 0.

        Raises:
            FaqError: the merged recipe is invalid (with file and line of the layer at fault), or names
                an unknown method.
        """
        if spec not in self._known:
            recipe = self.catalog.recipe_with(self._base(spec), self._layers(spec))
            with self.attach_location(spec):
                find_method(recipe.quantization.method)  # whether there are draws depends on it
            self._known[spec] = recipe
        return self._known[spec]

    @contextmanager
    def attach_location(self, spec: Spec) -> Iterator[None]:
        """Add to errors that name a recipe key the file and line where the study sets that key."""
        try:
            yield
        except FaqError as error:
            if not error.key:
                raise
            layers = reversed(self._layers(spec))
            sources = [source for _, own in layers for source in own] or self.sources
            file, line = place(error.key.split("."), sources)
            problem = f"arm {spec.arm!r}, quantizer {spec.quantizer!r}: {error.where}{error.problem}"
            raise FaqError(problem, hint=error.hint, file=file, line=line) from error

    def _base(self, spec: Spec) -> str:
        """The name of the base recipe. It must exist and be for the family."""
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
            raise FaqError(problem, hint="choose another recipe", file=file, line=line)
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
            trees = under(self.sources, "arms", spec.arm, "families", spec.family)
            layers.insert(4, (_sections(own.families[spec.family]), trees))
        return layers

    def _section(
        self, section: str, overlay: Mapping[str, Any], *where: str
    ) -> tuple[Mapping[str, Any], Sources]:
        """A layer for one section of the recipe, with its source trees wrapped as that section."""
        trees = under(self.sources, *where)
        return {section: overlay}, [(path, CommentedMap({section: tree})) for path, tree in trees]


def under(sources: Sources, *where: str) -> Sources:
    """The parsed subtrees at a path of keys, for the files that have them."""
    found: Sources = []
    for path, tree in sources:
        node: Any = tree
        for key in where:
            node = node.get(key) if isinstance(node, CommentedMap) else None
        if isinstance(node, CommentedMap):
            found.append((path, node))
    return found


def _sections(own: Sections) -> dict[str, Any]:
    """The sections that are merged into a recipe."""
    return own.model_dump(include={*Sections.model_fields, "evaluation"}, exclude_defaults=True)
