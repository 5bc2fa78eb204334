"""How a family is operated: where new members are looked for, what is quantized when, what is published."""

from __future__ import annotations

import re
from datetime import datetime
from fnmatch import fnmatch
from typing import Annotated

from cronsim import CronSim, CronSimError
from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from faq_pipeline.config.paths import ConfigPath
from faq_pipeline.config.yaml import Strict

FIELDS = {"owner", "member", "recipe", "revision"}
"""What the name of a published repository may be made of."""

UNKNOWN_TO_DAGSTER = re.compile(r"LW|\dL|,\S*#|#\S*,")
"""Cron's rarer forms: a schedule with one of them would keep all definitions from loading."""


class Discovery(Strict):
    """Which repositories or folders are members of the family.

    A repository belongs if one of the family's `owners` holds it, its name without the owner matches
    `name` as a whole, its size is within bounds and no pattern of `exclude` matches.
    """

    name: str
    """Regular expression: `Qwen3-[0-9.]+B`."""
    exclude: list[str] = []
    """Patterns as a shell has them, case ignored: `*-GPTQ*`, `*-FP8`."""
    least_parameters: PositiveInt = 1
    """Smaller models are left out."""
    most_parameters: PositiveInt | None = None
    """Larger models are left out."""
    directory: ConfigPath | None = None
    """A folder of model folders, for sites without a hub; it is then asked instead of the hub."""
    interval_seconds: PositiveInt = 600
    """Least time between two looks of the sensor."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        try:
            re.compile(name)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return name

    def names(self, name: str) -> bool:
        """Whether a repository's (or folder's) name is one of the family's; its size is another question."""
        return self.matches(name) and not self.excludes(name)

    def matches(self, name: str) -> bool:
        """Whether a name has the form of the family's, excluded or not."""
        return re.fullmatch(self.name, name) is not None

    def excludes(self, name: str) -> bool:
        """Whether a pattern of `exclude` matches a name."""
        return any(fnmatch(name.lower(), pattern.lower()) for pattern in self.exclude)

    def sized(self, parameters: int) -> bool:
        """Whether a member of so many weights is within bounds."""
        return self.least_parameters <= parameters <= (self.most_parameters or parameters)


class Requantize(Strict):
    """Which recipes the family's members are quantized with, without anybody asking."""

    recipes: Annotated[list[str], Field(min_length=1)]
    """Names of recipes."""
    on_release: bool = False
    """Whether a discovered member, or a new commit of one, is quantized at once."""
    cron: str | None = None
    """When stale and missing cells are quantized, as cron has it (UTC): `0 2 * * *`."""
    max_gpu_hours: PositiveFloat = 24.0
    """What one tick of the schedule may ask for, by the estimates of past runs."""

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, cron: str | None) -> str | None:
        if cron is None:
            return None
        try:
            CronSim(cron, datetime(2026, 1, 1))
        except CronSimError as error:
            raise ValueError(f"not a cron schedule of five fields as '0 2 * * *': {error}") from None
        if len(cron.split()) != 5 or UNKNOWN_TO_DAGSTER.search(cron.upper()):
            raise ValueError(f"{cron!r}: seconds, 'LW', '5L' and a '#' in a list are not supported")
        return cron


class Publish(Strict):
    """Where checkpoints go that pass the gate of their recipe, and which licences may."""

    licences: Annotated[list[str], Field(min_length=1)]
    """Of base, teacher and seeds: every one must be named here. Case is ignored."""
    directory: ConfigPath | None = None
    """Folder of published checkpoints; `published` in FAQ_HOME where absent."""
    repository: str | None = None
    """Hub repository to push to besides: `acme/{member}-{recipe}`."""

    @model_validator(mode="after")
    def _check_repository(self) -> Publish:
        if self.repository is None:
            return self
        unknown = set(re.findall(r"\{([^{}]*)\}", self.repository)) - FIELDS
        if unknown:
            raise ValueError(
                f"repository: unknown field {sorted(unknown)[0]!r}, known: {', '.join(sorted(FIELDS))}"
            )
        if self.repository.count("/") != 1:
            raise ValueError("repository: expected owner/name")
        return self
