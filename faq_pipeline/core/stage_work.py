"""The amount of work of a stage, in quantities that are assumed proportional to time and disk use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class StageWork:
    """What a stage does, before it is done.

    Attributes:
        kind: who does it, and where; only work of one kind is compared.
        tokens: generated or read, at most; 0 where the work does not grow with tokens, or their number
            is not known before.
        parameters: of the model that is loaded; 0 where none is.
        disk: what the artifact's size is proportional to, None where that is not known.
        form: artifacts of one form have the same size for the same `disk`.
        gpus: that are held while it lasts (places of the device, where that is a CPU); 0 where no
            model is loaded.
        worth: another kind, and the load of that kind that takes as long: it tells the time where nothing of
            this kind has run. None where no other kind does.
    """

    kind: str
    tokens: int
    parameters: int
    disk: int | None
    form: str = ""
    gpus: int = 0
    worth: tuple[str, float] | None = None

    @property
    def load(self) -> int:
        """What the time is proportional to."""
        return max(1, self.tokens) * max(1, self.parameters)

    def as_dict(self) -> dict[str, Any]:
        """For a manifest's metadata."""
        said = {name: value for name, value in asdict(self).items() if name != "worth"}
        return {**said, "load": self.load}


UNKNOWN_WORK = StageWork("other", 0, 0, None)
"""Of a stage that does not say what it does: its time is taken to be that of its past runs."""
