"""Why an artifact is out of date: what its stage declared then beside what it declares now, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from faq_pipeline.core.labels import label_of
from faq_pipeline.core.stage import Stage
from faq_pipeline.store.artifact import Manifest

LONGEST = 40
"""Characters of a value that is shown; of longer ones it is said that they changed."""
NONE = "none"

_MACHINE = {"device", "threads", "precision", "dtype", "served_as"}
"""Of what kind the machine is. Another one supersedes nothing, see `lineage.uses.cell_setting`."""
_OF_DEVICE = {"build", "graphs"}
"""What another device brings with it."""
_DIGEST = re.compile(r"[0-9a-f]{20,64}")


def identity_changes(stage: Stage, now: Mapping[str, Any], then: Manifest) -> list[str]:
    """What `stage` declares otherwise than when the artifact was made; the machine does not count.

    Args:
        now: the stage's identity.
    """
    found = _differences(then.identity, json.loads(json.dumps(now)))
    version = then.stage_version, stage.version
    texts = [f"version of the stage {version[0]} -> {version[1]}"] if version[0] != version[1] else []
    return texts + [_text(label_of(path, stage.labels, now), *found[path]) for path in _telling(found)]


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """The leaves that differ, by dotted name, as pairs; None for one that is not there."""
    apart = _MACHINE | (_OF_DEVICE if then.get("device") != now.get("device") else set())
    found: dict[str, Any] = {}
    for name in {**then, **now}:
        one, other = then.get(name), now.get(name)
        if name in apart or _same(name, one, other):
            continue
        if isinstance(one or {}, dict) and isinstance(other or {}, dict):
            found |= _differences(one or {}, other or {}, f"{path}{name}.")
        else:
            found[path + name] = (one, other)
    return found


def _same(name: str, one: Any, other: Any) -> bool:
    if name == "torch" and one and other:  # its build, behind the plus, is the machine's
        return bool(one.partition("+")[0] == other.partition("+")[0])
    return bool(one == other)


def _telling(found: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    """The differences that do not merely follow from another one."""
    choosers = [path for path in found if path.rpartition(".")[2] in ("engine", "source")]
    for path, (one, other) in found.items():
        if path in ("weights", "tokenizer") and "teacher" in found:
            continue
        # Another engine or source has fields of its own.
        chosen = any(path != c and path.startswith(c.removesuffix(c.rpartition(".")[2])) for c in choosers)
        if not chosen or (one is not None and other is not None):
            yield path


def _text(label: str, then: Any, now: Any) -> str:
    shown = [_shown(value) for value in (then, now)]
    return f"{label} changed" if None in shown else f"{label} {shown[0]} -> {shown[1]}"


def _shown(value: Any) -> str | None:
    """A value as YAML has it, None where it tells a reader nothing."""
    if value is None:
        return NONE
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    told = len(text) <= LONGEST and "\n" not in text and not _DIGEST.search(text)
    return text if told else None
