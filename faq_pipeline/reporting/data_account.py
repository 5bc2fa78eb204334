"""How a checkpoint's calibration data was made, in sentences that each follow from a fact.

A sentence is left out where its fact does not hold, or where an older artifact does not tell. So a card
says nothing of a competition where one candidate was made for each seed, and nothing of a teacher where
seeds were passed through.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from faq_pipeline.config.recipe import DRAW, ORIGINAL, RANDOM, SELF, TEACHER, Recipe
from faq_pipeline.core import stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.reporting.finished import FinishedCell

PAPER = "Family-Aware Quantization (FAQ, arXiv 2601.11200)"
FULL = 0.98
"""Share of the budget from which on the card does not mention that it is not filled."""


@dataclass(frozen=True)
class DataFacts:
    """What the recipe and the artifacts tell of a checkpoint's calibration data.

    Attributes:
        teacher: the teacher's public name; None where no other model rewrote the seeds.
        same_family, larger: of the teacher, compared with the target.
        corpus, scores, calibration: the metadata of these artifacts.
    """

    recipe: Recipe
    teacher: str | None
    same_family: bool
    larger: bool
    corpus: dict[str, Any]
    scores: dict[str, Any]
    calibration: dict[str, Any]

    @classmethod
    def of(cls, finished: FinishedCell) -> DataFacts | None:
        """The facts of a finished cell; None where the checkpoint was made without calibration data."""
        if finished.calibration is None:
            return None
        artifacts = finished.artifacts
        return cls(
            finished.cell.recipe,
            _teacher_name(finished.cell),
            *_kinship(finished.cell),
            artifacts[stage_names.REGENERATED_CORPUS].metadata,
            artifacts[stage_names.COMPETITION_SCORES].metadata,
            finished.calibration.metadata,
        )

    @property
    def is_faq(self) -> bool:
        """Whether a larger model of the same family regenerated the data, as the paper has it."""
        return self.teacher is not None and self.same_family and self.larger

    @property
    def repeats(self) -> bool:
        """Whether the engine that wrote the candidates writes the same again."""
        return bool(self.corpus.get("bytes_repeat", True))

    def sentences(self) -> list[str]:
        """All that can be said, in order."""
        written = self.recipe.regeneration.generates
        return [
            *self._source(),
            *(self._competition() if written else ()),
            *self._left_out(),
            *(self._answers() if written else ()),
            *self._form(),
        ]

    def _source(self) -> Iterator[str]:
        source = self.recipe.regeneration.source
        if source == ORIGINAL:
            yield "The calibration data is the seeds as they are: no model rewrote them."
        elif source == RANDOM:
            yield "The calibration data is random tokens: this checkpoint is a control and not for use."
        elif self.teacher is None:
            yield "The model itself rewrote the seeds for its calibration data."
        elif self.is_faq:
            yield (
                f"{self.teacher}, a larger model of the same family, rewrote the seeds for the calibration"
                f" data, as {PAPER} proposes."
            )
        else:
            family = "the same family" if self.same_family else "another family"
            yield f"{self.teacher}, a model of {family}, rewrote the seeds for the calibration data."

    def _competition(self) -> Iterator[str]:
        count, experts = self.recipe.regeneration.candidates, sorted(self.recipe.competition.experts)
        if count == 1:
            yield "One candidate was made for each seed, so no candidates competed."
            return
        yield f"{count} candidates were made for each seed."
        if self._uncontested:
            yield "No seed had more than one usable candidate, so none competed."
        elif self.recipe.competition.selection == "random":
            yield "Of the usable candidates of each seed one was kept at random: none competed."
        elif experts and len(self._silent) == len(experts):
            yield "No expert scored any of them, so the first usable one of each seed was kept."
        else:
            scoring = ", ".join(name for name in experts if name not in self._silent)
            yield f"The candidates of a seed competed under the scores of experts ({scoring})."
            yield "Of the usable ones the one with the highest weighted score was kept."
            if self._silent:
                yield f"Scored no candidate: {', '.join(self._silent)}."

    def _left_out(self) -> Iterator[str]:
        lost, wrong = self.scores.get("groups_without_winner", 0), self.scores.get("wrong_alone", 0)
        if wrong:
            yield f"{_seeds(wrong)} left out because the only usable candidate has a wrong answer."
        if lost > wrong:
            yield f"{_seeds(lost - wrong)} left out because all candidates are cut, failed, empty or looping."

    def _answers(self) -> Iterator[str]:
        wrong = self.scores.get("wrong_winners")
        if self.scores.get("accuracy_of_winners") is None or wrong is None:
            return
        known = "whose seed has a known answer"
        if wrong:
            yield f"Of the kept candidates {known}, {wrong} give another answer."
        else:
            yield f"All kept candidates {known} give that answer."

    def _form(self) -> Iterator[str]:
        spec, found = self.recipe.calibration, self.calibration
        if spec.reasoning == "drop" and self.recipe.regeneration.generates:
            yield "The reasoning of the kept candidates was left out."
        if self.recipe.regeneration.source == RANDOM:
            form = "without a template"
        else:
            form = "in the model's chat template" if spec.template == "chat" else "as plain text"
        yield f"The set holds {found['samples']:,} samples and {found['tokens']:,} tokens, {form}."
        budget = found.get("budget", spec.tokens)
        if found["tokens"] < FULL * budget:
            yield f"That is {100 * found['tokens'] // budget}% of the recipe's {budget:,} tokens."
        if found.get("originals"):
            yield f"{found['originals']:,} of these tokens are seeds as they are."
        if spec.selection != DRAW:
            yield f"Selection {spec.selection!r} decided which seeds enter first."

    @property
    def _silent(self) -> list[str]:
        """Experts that abstained on every candidate."""
        total, experts = self.scores.get("candidates"), self.scores.get("experts", {})
        return sorted(name for name, own in experts.items() if own["abstentions"] == total)

    @property
    def _uncontested(self) -> bool:
        winners = self.scores.get("winners")
        return bool(winners) and self.scores.get("uncontested") == winners


def counts(facts: DataFacts) -> str:
    """From seeds to calibration tokens, in numbers."""
    scores, found = facts.scores, facts.calibration
    seeds = f"{scores['groups']:,} seeds"
    made = f", {facts.corpus['candidates']:,} candidates, {scores['winners']:,} of them kept"
    samples = f"{found['samples']:,} samples and {found['tokens']:,} tokens"
    return f"{seeds}{made if facts.recipe.regeneration.generates else ''}; a calibration set of {samples}"


def _seeds(count: int) -> str:
    return f"{count:,} seed was" if count == 1 else f"{count:,} seeds were"


def _teacher_name(cell: Cell) -> str | None:
    if cell.recipe.regeneration.source in (SELF, ORIGINAL, RANDOM) or cell.teacher is None:
        return None
    if cell.teacher.digest == cell.target.digest:
        return None
    return cell.teacher.member.hub or cell.teacher.name


def _kinship(cell: Cell) -> tuple[bool, bool]:
    """Whether the teacher is of the target's family, and larger."""
    if cell.recipe.regeneration.source != TEACHER or cell.teacher is None:
        return False, False
    same = (cell.teacher_family or cell.family).name == cell.family.name
    return same, cell.teacher.member.parameters > cell.target.member.parameters
