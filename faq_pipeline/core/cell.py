"""A cell of the matrix member x recipe: everything that a stage may read besides its input artifacts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from faq_pipeline.config.family import Family, Serving
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.models.weights import Weights


@dataclass(frozen=True)
class Cell:
    """A target, the recipe it is quantized with, and the teacher that the recipe resolves to.

    Attributes:
        target: the member being quantized, its files checked and digested.
        teacher: the member that regenerates; the target itself for source `self`, None where no
            model regenerates (`original`, `random`).
        device: `cpu`, `cuda`, or `cuda` with chosen GPUs; see `models.device`.
    """

    family: Family
    recipe: Recipe
    target: Weights
    teacher: Weights | None
    device: str
    teacher_family: Family | None = None
    """The teacher's family, where it is another one."""
    identities: dict[object, dict[str, Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What stages declare for this cell, filled by `Stage.declare`; a changed copy of a cell begins anew."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "identities": {}}  # another process computes its own

    def serving(self, weights: Weights) -> Serving:
        """How vLLM serves the target or the teacher."""
        other = self.teacher_family if weights is self.teacher else None
        return (other or self.family).serving_of(weights.member)

    @property
    def partition(self) -> str:
        """The partition key, `name@rev8|recipe`."""
        return f"{self.target.partition}|{self.recipe.name}"

    def with_recipe(self, recipe: Recipe) -> Cell:
        """The same cell under another recipe of the same source (a study's draw, say)."""
        return replace(self, recipe=recipe)
