"""Makes the candidates' calibration sets and reads off what is known of each before quantizing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from faq_pipeline.advice.candidates import Candidate
from faq_pipeline.advice.stages import ADVICE_STAGES, DATA_STAGES
from faq_pipeline.core import stage_names
from faq_pipeline.core.stage import Stage
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.cost import PastRuns
from faq_pipeline.execution.preflight import check
from faq_pipeline.execution.runner import materialize
from faq_pipeline.settings import Settings
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.util.progress import Progress

Listener = Callable[[Candidate, Stage], Progress]
"""Who listens to a stage of a candidate."""


@dataclass(frozen=True)
class Measured:
    """What is known of a candidate's set.

    Attributes:
        excess: what sets are ranked by, see `activations.excess_error`; lower is better.
        tokens: that are in the set which was measured.
        sampled_tokens: that are sampled for the set at the recipe's size: those of the measured one, scaled
            by the number of seeds.
        seconds: to make that set, by past runs; None where a stage of it has never run here.
    """

    candidate: Candidate
    excess: float
    fitness: float | None
    tokens: int
    sampled_tokens: int
    seconds: float | None
    calibration_set: str


def check_candidates(settings: Settings, candidates: Sequence[Candidate]) -> None:
    """Refuse candidates whose stages would fail, before any of them runs.

    Raises:
        FaqError: see `preflight.check`.
    """
    for one in candidates:
        check(one.cell, settings.catalog, settings.store, ADVICE_STAGES)


def measure(
    settings: Settings, candidates: Sequence[Candidate], listener: Listener
) -> tuple[list[Measured], list[str]]:
    """Make and measure every set, best first; and notes on those that could not be made.

    Raises:
        FaqError: none could be made, and why the first could not.
    """
    made: list[tuple[Candidate, dict[str, Artifact]]] = []
    problems: list[FaqError] = []
    notes: list[str] = []
    for one in candidates:
        try:
            made.append((one, _made(settings, one, listener)))
        except FaqError as error:
            problems.append(error)
            notes.append(f"{one.source}, {one.selection}, {one.tokens:,} tokens: {error}")
    if not made:
        raise problems[0]
    notes += [
        f"{one.source}: {note}"
        for one, artifacts in made
        for note in artifacts[stage_names.CALIBRATION_SET].metadata["notes"]
    ]
    past = PastRuns(settings.store)
    measured = [_measured(past, one, artifacts) for one, artifacts in made]
    return sorted(measured, key=lambda one: one.excess), notes


def _made(settings: Settings, candidate: Candidate, listener: Listener) -> dict[str, Artifact]:
    """The candidate's artifacts by stage.

    Raises:
        FaqError: a stage or one of its blocking checks fails.
    """
    artifacts: dict[str, Artifact] = {}
    cell = candidate.cell
    with settings.catalog.attach_location(cell.recipe):
        for name, stage in ADVICE_STAGES.items():
            progress = listener(candidate, stage)
            artifact = materialize(name, cell, ADVICE_STAGES, settings.store, progress).artifact
            if problem := stage.blocking_problem(cell, artifact):
                raise FaqError(f"{name}: {problem}", file=artifact.path)
            artifacts[name] = artifact
    return artifacts


def _measured(past: PastRuns, candidate: Candidate, artifacts: dict[str, Artifact]) -> Measured:
    corpus, data = (artifacts[name] for name in (stage_names.REGENERATED_CORPUS, stage_names.CALIBRATION_SET))
    sampled = corpus.metadata["tokens"] if "sampling_seconds" in corpus.metadata else 0
    scale = candidate.whole.recipe.seeds.count / candidate.cell.recipe.seeds.count
    seconds = [past.estimate(ADVICE_STAGES[name], candidate.whole).seconds for name in DATA_STAGES]
    known = [one for one in seconds if one is not None]
    return Measured(
        candidate=candidate,
        excess=artifacts[stage_names.EXCESS_ERROR].metadata["excess"],
        fitness=data.metadata["fitness"],
        tokens=data.metadata["tokens"],
        sampled_tokens=round(sampled * scale),
        seconds=sum(known) if len(known) == len(seconds) else None,
        calibration_set=data.fingerprint,
    )
