"""What a model's folder says of itself: parameters, licence, thinking marks, context, chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from faq_pipeline.config.family import Member, Thinking
from faq_pipeline.errors import FaqError
from faq_pipeline.models.own_template import template_text
from faq_pipeline.models.weights import Weights, count_parameters, find_weights

MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reason>", "</reason>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""Pairs of marks around reasoning, as chat templates write them."""
NO_MARKS = Thinking(open="", close="</think>")
"""Of a template without marks: the reasoning is part of the answer."""
SWITCHES = ("enable_thinking",)
"""Variables by which templates let reasoning be switched on."""


@dataclass(frozen=True)
class ModelFacts:
    """What a family file has to say of a model.

    Attributes:
        weights: its files, checked and digested; of a packed folder the unpacked ones, of a hub
            repository that is not here all but the weights.
        parameters: number of weights in its safetensors.
        context: most tokens that it attends to.
        template: its chat template.
    """

    weights: Weights
    parameters: int
    licence: str
    context: int
    template: str
    thinking: Thinking


def model_facts(folder: Path, digests: Path, given: Path | None = None) -> ModelFacts:
    """Look into a model folder.

    Args:
        digests: as the cache of `find_weights`.
        given: a chat template for a model that has none of its own.

    Raises:
        FaqError: it is no complete model folder (see `check_folder`), or has no chat template, or
            the given one cannot be read.
    """
    member = Member(name=folder.name or "model", path=folder, parameters=1, chat_template=given)
    weights = find_weights(member, digests)
    template = usable_template(chat_template(weights.folder), given, folder)
    return ModelFacts(
        weights=weights,
        parameters=count_parameters(weights.folder),
        licence=stated_licence(folder),
        context=weights.context,
        template=template,
        thinking=thinking_of(template),
    )


def usable_template(own: str | None, given: Path | None, file: Path | str) -> str:
    """The text of the given chat template, or the model's own.

    Args:
        file: the model's folder or repository, for messages.

    Raises:
        FaqError: there is neither; or the given one cannot be read.
    """
    if given is not None:
        return template_text(given)
    if own is None:
        raise FaqError(
            "this model has no chat template, as base models have none, and calibration data is made in one",
            hint="--chat-template FILE takes the one of its family's chat models, --chat-template plain ours",
            file=file,
        )
    return own


def chat_template(folder: Path) -> str | None:
    """The folder's chat template; of several the one that is called `default`."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return template_text(file)
    found = json_object(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, Mapping)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def thinking_of(template: str) -> Thinking:
    """The thinking marks that a chat template writes, and how it is told to let the model reason."""
    pair = next((pair for pair in MARKS if pair[1] in template), None)
    if pair is None:
        return NO_MARKS
    switch = next((name for name in SWITCHES if re.search(rf"\b{name}\b", template)), None)
    switches: dict[str, bool | str | int] = {} if switch is None else {switch: True}
    return Thinking(open=pair[0], close=pair[1], template_kwargs=switches)


def stated_licence(folder: Path) -> str:
    """The licence in the front matter of the folder's README.md; `unknown` where none is stated."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        _, mark, rest = text.partition("---\n")
        head = YAML(typ="safe").load(rest.partition("\n---")[0]) if mark and text.startswith("---") else None
    except (OSError, ValueError, YAMLError):  # ValueError: no UTF-8, or a date that is none
        return "unknown"
    if not isinstance(head, Mapping):
        return "unknown"
    licence = head.get("license")
    if licence in (None, "other"):
        licence = head.get("license_name")
    return licence if isinstance(licence, str) and licence.strip() else "unknown"


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
