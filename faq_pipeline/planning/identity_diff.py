"""Explain why an artifact is out of date: the differences between its stage's identity then and now."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from faq_pipeline.core.labels import label_of
from faq_pipeline.core.stage import Stage
from faq_pipeline.store.artifact import Manifest

LONGEST = 40
"""Maximum number of characters of a shown value; longer values are only reported as changed."""
NONE = "none"

_MACHINE = {"device", "threads", "precision", "dtype", "served_as"}
"""Fields of the machine. Another machine does not make an artifact stale; see `lineage.uses.cell_setting`."""
_OF_DEVICE = {"build", "graphs"}
"""Fields that change with the device."""
_DIGEST = re.compile(r"[0-9a-f]{20,64}")


def identity_changes(stage: Stage, now: Mapping[str, Any], then: Manifest) -> list[str]:
    """The differences between the stage's identity now and when the artifact was made, in words.

    Differences of the machine are ignored.

    Args:
        now: the stage's current identity.
        then: the artifact's manifest.
    """
    found = _differences(then.identity, json.loads(json.dumps(now)))
    version = then.stage_version, stage.version
    texts = [f"version of the stage {version[0]} -> {version[1]}"] if version[0] != version[1] else []
    return texts + [_text(label_of(path, stage.labels, now), *found[path]) for path in _causes(found)]


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """The leaves that differ, by dotted name, as (then, now); None stands for a missing leaf."""
    ignored = _MACHINE | (_OF_DEVICE if then.get("device") != now.get("device") else set())
    found: dict[str, Any] = {}
    for name in {**then, **now}:
        old, new = then.get(name), now.get(name)
        if name in ignored or _same(name, old, new):
            continue
        if isinstance(old or {}, dict) and isinstance(new or {}, dict):
            found |= _differences(old or {}, new or {}, f"{path}{name}.")
        else:
            found[path + name] = (old, new)
    return found


def _same(name: str, old: Any, new: Any) -> bool:
    if name == "torch" and old and new:  # the build after the plus sign depends on the machine
        return bool(old.partition("+")[0] == new.partition("+")[0])
    return bool(old == new)


def _causes(found: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    """The differences that are not merely a consequence of another one."""
    choosers = [path for path in found if path.rpartition(".")[2] in ("engine", "source")]
    for path, (old, new) in found.items():
        if path in ("weights", "tokenizer") and "teacher" in found:
            continue
        if path == "answers" and len(found) > 1:  # recipes that compare no answers have no rules for them
            continue
        # Another engine or source has other fields.
        chosen = any(path != c and path.startswith(c.removesuffix(c.rpartition(".")[2])) for c in choosers)
        if not chosen or (old is not None and new is not None):
            yield path


def _text(label: str, then: Any, now: Any) -> str:
    shown = [_shown(value) for value in (then, now)]
    return f"{label} changed" if None in shown else f"{label} {shown[0]} -> {shown[1]}"


def _shown(value: Any) -> str | None:
    """A value as in YAML; None if it is too long or a digest, which would not help a reader."""
    if value is None:
        return NONE
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    readable = len(text) <= LONGEST and "\n" not in text and not _DIGEST.search(text)
    return text if readable else None
