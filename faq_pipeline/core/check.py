"""Checks: the contract of a stage, held against an artifact of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.store.artifact import Artifact


@dataclass(frozen=True)
class CheckResult:
    """The result of a check; `metadata` holds the figures that it rests on, JSON-able."""

    passed: bool
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One contract of one stage.

    Attributes:
        description: the contract in one sentence.
        blocking: a failure stops what is downstream; of other checks it is a warning.
        run: checks an artifact of the stage, made for the cell.
    """

    name: str
    description: str
    blocking: bool
    run: Callable[[Cell, Artifact], CheckResult]
