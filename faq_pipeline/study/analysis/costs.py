"""The cost of a cell: sampled tokens, and seconds by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faq_pipeline.core import stage_names
from faq_pipeline.store.artifact import Artifact

DATA_STAGES = (stage_names.REGENERATED_CORPUS, stage_names.COMPETITION_SCORES, stage_names.CALIBRATION_SET)
"""The stages that make an arm's calibration data."""


@dataclass(frozen=True)
class Cost:
    """Tokens sampled from a model, and seconds per stage.

    A corpus that several arms share counts fully for each of them, as if the arm were run alone. Seconds
    are wall time of one process while the study's other workers run.

    Attributes:
        sampled_tokens: None if the cost of the data is unknown, see `cost_of`.
        seconds: of each stage whose artifact is in the store.
    """

    sampled_tokens: int | None
    seconds: Mapping[str, float]

    @property
    def data_seconds(self) -> float | None:
        """Seconds of all stages that make the calibration data; None if the cost of the data is unknown."""
        if self.sampled_tokens is None:
            return None
        return sum(self.seconds.get(stage, 0.0) for stage in DATA_STAGES)


def cost_of(made: Mapping[str, Artifact | None]) -> Cost:
    """The cost of a cell.

    Args:
        made: the artifacts that its result names, by stage; None for those that are not in the store. If
            one of the calibration data is among these, the cost of the data is unknown, not 0.
    """
    corpus = made.get(stage_names.REGENERATED_CORPUS)
    seconds = {stage: artifact.manifest.seconds for stage, artifact in made.items() if artifact is not None}
    if any(made[stage] is None for stage in DATA_STAGES if stage in made):
        return Cost(None, seconds)
    sampled = 0
    if corpus is not None and "sampling_seconds" in corpus.metadata:
        sampled = int(corpus.metadata["tokens"])
        # `sampling_seconds` includes earlier, interrupted runs (from the ledger); the manifest does not.
        seconds[stage_names.REGENERATED_CORPUS] = max(
            seconds[stage_names.REGENERATED_CORPUS], float(corpus.metadata["sampling_seconds"])
        )
    return Cost(sampled, seconds)
