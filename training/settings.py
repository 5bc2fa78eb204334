"""The settings in members.yaml, typed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "data" / "models"
TOKENIZER = MODELS / "kin-tokenizer"


@dataclass(frozen=True)
class Shape:
    """The dimensions of one member."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int


@dataclass(frozen=True)
class Plan:
    """How long and how fast one member is trained."""

    tokens: int
    rows: int
    lr: float


@dataclass(frozen=True)
class Mix:
    """What the training text is made of; all weights are relative."""

    documents: dict[str, float]
    levels: list[float]
    styles: list[float]
    system: float
    tasks: dict[str, float]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the family."""

    seed: int
    vocabulary: int
    tokenizer_documents: int
    row_tokens: int
    shapes: dict[str, Shape]
    plans: dict[str, Plan]
    mix: Mix


@cache
def settings() -> Settings:
    """Read members.yaml once."""
    text = files("training").joinpath("members.yaml").read_text(encoding="utf-8")
    raw = yaml.safe_load(text)
    members = raw["members"]
    plans = {
        name: Plan(int(m["training"]["tokens"]), int(m["training"]["rows"]), m["training"]["lr"])
        for name, m in members.items()
    }
    return Settings(
        seed=raw["seed"],
        vocabulary=raw["tokenizer"]["vocabulary"],
        tokenizer_documents=raw["tokenizer"]["documents"],
        row_tokens=raw["row_tokens"],
        shapes={name: Shape(**m["shape"]) for name, m in members.items()},
        plans=plans,
        mix=Mix(**raw["mix"]),
    )


def shipped_members() -> tuple[str, ...]:
    """The members that are published, the smallest first."""
    return tuple(name for name in settings().shapes if name != "kin-test")
