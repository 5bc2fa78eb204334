"""What is known of an artifact before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Key:
    """Everything that is known of an artifact before it is made."""

    stage: str
    stage_version: int
    fingerprint: str
    identity: Mapping[str, Any]
    inputs: Mapping[str, str]
    upstream: Mapping[str, str]
    measurements: tuple[str, ...] = ()
    """Files that are no part of the digest."""
    unread: tuple[str, ...] = ()
    """Patterns of files of its inputs that it does not read, and that need not be there."""
