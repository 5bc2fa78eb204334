"""The cost of a cell: sampled tokens, and seconds by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faq_pipeline.store.artifact import Artifact

DATA_STAGES = ("regenerated_corpus", "competition_scores", "calibration_set")
"""The stages that make an arm's calibration data."""


@dataclass(frozen=True)
class Cost:
    """Tokens sampled from a model, and seconds per stage.

    A corpus that several arms share counts fully for each of them, as if the arm were run alone. Seconds
    are wall time of one process while the study's other workers run.
    """

    sampled_tokens: int
    seconds: Mapping[str, float]

    @property
    def data_seconds(self) -> float:
        """Seconds of all stages that make the calibration data."""
        return sum(self.seconds.get(stage, 0.0) for stage in DATA_STAGES)


def cost_of(made: Mapping[str, Artifact | None]) -> Cost:
    """The cost of a cell, from its artifacts by stage."""
    corpus = made.get("regenerated_corpus")
    seconds = {stage: artifact.manifest.seconds for stage, artifact in made.items() if artifact is not None}
    sampled = 0
    if corpus is not None and "sampling_seconds" in corpus.metadata:
        sampled = int(corpus.metadata["tokens"])
        # `sampling_seconds` includes earlier, interrupted runs (from the ledger); the manifest does not.
        seconds["regenerated_corpus"] = max(
            seconds["regenerated_corpus"], float(corpus.metadata["sampling_seconds"])
        )
    return Cost(sampled, seconds)
