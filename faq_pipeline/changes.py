"""Why an artifact is out of date: what its stage declared then beside what it declares now, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from faq_pipeline.stage import Stage
from faq_pipeline.store.artifact import Manifest

LONGEST = 40
"""Characters of a value that is shown; of longer ones it is said that they changed."""
NONE = "none"

_MACHINE = {"device", "threads", "precision", "dtype", "served_as"}
"""Of what kind the machine is. Another one supersedes nothing, see `lineage.uses.cell_setting`."""
_OF_DEVICE = {"build", "graphs"}
"""What another device brings with it."""
_DIGEST = re.compile(r"[0-9a-f]{20,64}")

_ENGINE = {
    "engine.engine": "{section}.engine",
    "engine.batch_size": "{section}.batch_size",
    "engine.model": "{section}.endpoint.model",
    "engine.version": "vllm",
    "engine.tensor_parallel": "family serving.tensor_parallel",
    "engine.pipeline_parallel": "family serving.pipeline_parallel",
    "engine.arguments": "family serving.arguments",
    "engine": "",
}
_SHARED = {
    "target": "weights of the target",
    "tokenizer": "tokenizer of the target",
    "prompts": "family prompts",
    "thinking": "family thinking",
    "template_kwargs": "family thinking.template_kwargs",
    "tools": "",
}
_EVALUATION = {
    **{name.replace("engine", "server", 1): label for name, label in _ENGINE.items()},
    "tasks": "evaluation.tasks",
    "prose": "evaluation.prose",
    "gate": "evaluation.gate",
}
_LABELS: Mapping[str, Mapping[str, str]] = {
    "inference_traces": {
        **_ENGINE,
        "development": "development prompts of the family",
        "count": "number of traces",
        "max_new_tokens": "evaluation.max_new_tokens",
    },
    "regenerated_corpus": {
        **_ENGINE,
        "tokenizer": "tokenizer of the teacher",
        "source": "regeneration.source",
        "candidates": "regeneration.candidates",
        "sampling": "regeneration.sampling",
        "length": "calibration.sequence_length",
    },
    "competition_scores": {
        "experts": "competition.experts",
        "selection": "competition.selection",
        "judge": "competition.judge",
        **{f"target.{name}": label for name, label in {**_SHARED, **_ENGINE}.items()},
        "target.weights": "weights of the target",
    },
    "reference_eval": _EVALUATION,
    "eval_report": _EVALUATION,
}
"""How a declared field is called, by stage and the beginning of its dotted name; else as it is."""


def changes(stage: Stage, now: Mapping[str, Any], then: Manifest) -> list[str]:
    """What `stage` declares otherwise than when the artifact was made; the machine does not count.

    Args:
        now: the stage's identity.
    """
    found = _differences(then.identity, json.loads(json.dumps(now)))
    version = then.stage_version, stage.version
    texts = [f"version of the stage {version[0]} -> {version[1]}"] if version[0] != version[1] else []
    return texts + [_text(_label(stage.name, path, now), *found[path]) for path in _telling(found)]


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


def _label(stage: str, path: str, now: Mapping[str, Any]) -> str:
    if path == "seeds.digest":
        return f"seed file {now['seeds'].get('file', '')}".strip()
    labels = {**_SHARED, **_LABELS.get(stage, {})}
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        label = labels.get(".".join(parts[:length]))
        if label is None:
            continue
        section = "regeneration" if stage == "regenerated_corpus" else "evaluation"
        rest = ".".join(parts[length:])
        return label.format(section=section) + ("." if label and rest else "") + rest
    return path


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
