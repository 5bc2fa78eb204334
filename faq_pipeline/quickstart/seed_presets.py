"""Seeds that have a name: our own file, and data sets of the hub. `data/seeds/presets.yaml` lists them."""

from __future__ import annotations

from pydantic import model_validator

from faq_pipeline.config.paths import ConfigPath
from faq_pipeline.config.yaml import Strict, look, plain, validate
from faq_pipeline.quickstart.hub_dataset import HubDataset
from faq_pipeline.settings import REPOSITORY

PRESETS = REPOSITORY / "data/seeds/presets.yaml"
DEFAULT = "general"


class Preset(Strict):
    """Seeds by a name."""

    title: str
    """What they are, in a line."""
    licence: str
    """As the card of a data set stated it when the preset was written."""
    path: ConfigPath | None = None
    """A seed file of ours."""
    dataset: HubDataset | None = None
    """A data set on the hub, in its place."""

    @model_validator(mode="after")
    def _check_source(self) -> Preset:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("a preset needs either 'path' or 'dataset', and not both")
        return self


class _Presets(Strict):
    presets: dict[str, Preset]


def seed_presets() -> dict[str, Preset]:
    """The presets by name, in the file's order.

    Raises:
        FaqError: the file is damaged.
    """
    tree = look(PRESETS)
    return validate({"presets": plain(tree, PRESETS.parent)}, _Presets, [(PRESETS, tree)]).presets
