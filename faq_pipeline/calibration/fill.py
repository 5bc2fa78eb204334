"""How much of its token budget a calibration set fills, and why it is not more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.quantization.methods import needs_calibration
from faq_pipeline.regeneration.seeds import load_seeds

NOTED = 0.02
"""Share of the budget that may stay empty without a note."""
LEAST = 0.5
"""A set that fills less than this share of its budget is refused: the recipe asked for another set."""
TOO_LITTLE = "calibration.tokens"
"""Key of errors of a set that holds too little: `faq quantize` then takes the seeds as they are."""
COMPARED = "answers are compared as numbers or word for word, so leave out 'answer' where it is free text"


@dataclass(frozen=True)
class Fill:
    """The size of a calibration set and what did not enter it.

    Attributes:
        left_out: seeds that gave no sample, by reason; see `Assembled.left_out`.
        wrong_alone: of those without a winner, the seeds whose only usable candidate has a wrong answer.
        all_seeds: whether the recipe takes every seed that there is, so that `seeds.count` cannot be raised.
        answered: seeds whose answer is known; 0 where an earlier version did not count them.
    """

    tokens: int
    budget: int
    samples: int
    seeds: int
    left_out: Mapping[str, int]
    wrong_alone: int = 0
    all_seeds: bool = False
    answered: int = 0

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Fill:
        """From the metadata of a `calibration_set`; earlier versions did not count all of it."""
        left_out = {name: int(count) for name, count in metadata.get("left_out", {}).items()}
        samples = int(metadata.get("samples", 0))
        seeds = int(metadata.get("seeds", samples + sum(left_out.values())))
        return cls(
            tokens=int(metadata["tokens"]),
            budget=int(metadata["budget"]),
            samples=samples,
            seeds=seeds,
            left_out=left_out,
            wrong_alone=int(metadata.get("wrong_alone", 0)),
            all_seeds=bool(metadata.get("all_seeds", False)),
            answered=int(metadata.get("answered", 0)),
        )

    def as_dict(self) -> dict[str, Any]:
        """As metadata of the artifact."""
        return asdict(self)

    @property
    def is_enough(self) -> bool:
        return self.tokens >= LEAST * self.budget

    @property
    def _lost(self) -> int:
        return self.left_out.get("no_winner", 0)

    @property
    def _too_long(self) -> int:
        return self.left_out.get("too_long", 0)

    def __str__(self) -> str:
        share = f"{self.tokens:,} of {self.budget:,} tokens ({100 * self.tokens // self.budget}%)"
        wrong = f", {self.wrong_alone} of them for a wrong answer" if self.wrong_alone else ""
        wrong += f"; {self.answered} seeds have an answer" if wrong and self.answered else ""
        causes = [f"{self._lost} left out{wrong}"] if self._lost else []
        causes += [f"{self._too_long} longer than calibration.sequence_length"] if self._too_long else []
        without = f" ({'; '.join(causes)})" if causes else ""
        return f"{share} in {self.samples} samples of {self.seeds} seeds{without}"

    @property
    def hint(self) -> str:
        """What helps most."""
        more = more_seeds(self.all_seeds)
        general = f"{more} or lower calibration.tokens"
        if 2 * (self._lost + self._too_long) < self.seeds:
            return general
        if self._lost < self._too_long:
            return f"raise calibration.sequence_length, {general}"
        if 2 * self.wrong_alone > self._lost:
            return f"check the seeds' answers, raise regeneration.candidates, {general}; {COMPARED}"
        candidates = "raise regeneration.candidates, " if self.all_seeds else ""
        cut = "candidates that are cut need a larger regeneration.sampling.max_new_tokens"
        return f"{candidates}{general}; {cut}"

    @property
    def notes(self) -> list[str]:
        """What the user should know of the set's size, and of most answers being left out."""
        if self.tokens < (1 - NOTED) * self.budget:
            return [f"the set holds {self}: {self.hint}, and compare only sets of equal size"]
        if self.wrong_alone and 2 * self.wrong_alone > self.answered > 0:
            # The set is full, yet of other data than the recipe seems to ask for.
            helps = f"check these answers, raise regeneration.candidates; {COMPARED}"
            of = f"{self.wrong_alone} of the {self.answered} seeds with an answer"
            return [f"{of} are left out for a wrong answer: {helps}"]
        return []


def more_seeds(all_seeds: bool) -> str:
    """What gives a recipe more seeds.

    Args:
        all_seeds: see `Fill`.
    """
    return "add seeds and raise seeds.count" if all_seeds else "raise seeds.count"


def check_filled(cell: Cell, fill: Fill) -> None:
    """Refuse a set that fills less than half of its budget, where the cell's quantization uses one.

    Raises:
        FaqError: how full it is, why, and what helps.
    """
    if is_used(cell) and not fill.is_enough:
        raise FaqError(
            f"recipe {cell.recipe.name!r}: less than half of the calibration budget would be filled: {fill}",
            hint=fill.hint,
            key=TOO_LITTLE,
        )


def check_can_fill(cell: Cell) -> None:
    """Refuse a recipe whose seeds cannot fill half of the budget, however long their samples are.

    Raises:
        FaqError: with the numbers.
    """
    spec, count = cell.recipe.calibration, cell.recipe.seeds.count
    samples = count * (2 if spec.originals else 1)
    most = samples * spec.sequence_length
    if is_used(cell) and most < LEAST * spec.tokens:
        more = more_seeds(_takes_all(cell))
        raise FaqError(
            f"{count} seeds of at most {spec.sequence_length} tokens each fill less than half of"
            f" {spec.tokens:,} calibration tokens",
            hint=f"{more} or calibration.sequence_length, or lower calibration.tokens",
            key=TOO_LITTLE,
        )


def _takes_all(cell: Cell) -> bool:
    """Whether the recipe takes every seed of its file.

    Raises:
        FaqError: the file is invalid; see `load_seeds`.
    """
    seeds = cell.recipe.seeds
    return seeds.path is not None and len(load_seeds(seeds.path, seeds.count)) == seeds.count


def is_used(cell: Cell) -> bool:
    """Whether the cell's checkpoint depends on a calibration set."""
    return needs_calibration(cell.recipe.quantization)
