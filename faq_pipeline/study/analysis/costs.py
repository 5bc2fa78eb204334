"""What a cell's data took: tokens that were sampled, and seconds by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faq_pipeline.core import stage_names
from faq_pipeline.store.artifact import Artifact

DATA_STAGES = (stage_names.REGENERATED_CORPUS, stage_names.COMPETITION_SCORES, stage_names.CALIBRATION_SET)
"""What an arm's calibration data costs, before it is used."""


@dataclass(frozen=True)
class Cost:
    """Tokens sampled from a model, and seconds of the worker that made each stage.

    A corpus that several arms share is counted for each: it is what the arm would cost alone. Seconds
    are wall time of one process under the load of the study's other workers.
    """

    sampled_tokens: int
    seconds: Mapping[str, float]

    @property
    def data_seconds(self) -> float:
        """Of all stages that make the calibration data."""
        return sum(self.seconds.get(stage, 0.0) for stage in DATA_STAGES)


def cost_of(made: Mapping[str, Artifact | None]) -> Cost:
    """The cost of a cell by its artifacts."""
    corpus = made.get(stage_names.REGENERATED_CORPUS)
    seconds = {stage: artifact.manifest.seconds for stage, artifact in made.items() if artifact is not None}
    sampled = 0
    if corpus is not None and "sampling_seconds" in corpus.metadata:
        sampled = int(corpus.metadata["tokens"])
        # What earlier, interrupted runs sampled is in the ledger, and so in this alone.
        seconds[stage_names.REGENERATED_CORPUS] = max(
            seconds[stage_names.REGENERATED_CORPUS], float(corpus.metadata["sampling_seconds"])
        )
    return Cost(sampled, seconds)
