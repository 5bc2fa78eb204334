"""The settings in families/, typed: one YAML is one model family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from training.chat import Chat

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
MODELS = DATA / "models"
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Architecture:
    """What all members have in common."""

    type: str
    rope_theta: float
    norm_eps: float
    head: int = 64
    positions: int = 1024


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
    """How long and how fast one member is trained; its share of the workers when all are at once."""

    tokens: int
    rows: int
    lr: float
    share: int = 1


@dataclass(frozen=True)
class Mix:
    """What the training text is made of; all weights are relative."""

    documents: dict[str, float]
    levels: list[float]
    styles: list[float]
    system: float
    tasks: dict[str, float]


@dataclass(frozen=True)
class Member:
    """One model of the family. Its mix is the family's but for what it overrides."""

    name: str
    shape: Shape
    plan: Plan
    mix: Mix

    @property
    def shipped(self) -> bool:
        """Whether the member is published; the others are for tests."""
        return not self.name.endswith("-test")


@dataclass(frozen=True)
class Settings:
    """Everything that decides a family.

    Attributes:
        tasks: the names of its tasks, sorted.
        hard: levels by task, at which the smallest target mostly fails and the teacher does not.
        prose: the YAML of its invented world.
        mix: what its tokenizer is trained on, and its members unless they say otherwise.
    """

    name: str
    about: str
    seed: int
    vocabulary: int
    tokenizer_documents: int
    row_tokens: int
    architecture: Architecture
    chat: Chat
    tasks: tuple[str, ...]
    hard: dict[str, list[int]]
    prose: Path
    members: dict[str, Member]
    mix: Mix

    @property
    def tokenizer(self) -> Path:
        """The folder of the shipped tokenizer."""
        return MODELS / f"{self.name}-tokenizer"

    @property
    def shipped(self) -> tuple[Member, ...]:
        """The members that are published, the smallest first."""
        return tuple(member for member in self.members.values() if member.shipped)


@cache
def family_names() -> tuple[str, ...]:
    """All families."""
    return tuple(sorted(path.stem for path in (_HERE / "families").glob("*.yaml")))


@cache
def settings(name: str) -> Settings:
    """Read the settings of a family once."""
    raw = read_yaml(_HERE / "families" / f"{name}.yaml")
    mix = Mix(**raw["mix"])
    return Settings(
        name=raw["name"],
        about=raw["about"],
        seed=raw["seed"],
        vocabulary=raw["tokenizer"]["vocabulary"],
        tokenizer_documents=raw["tokenizer"]["documents"],
        row_tokens=raw["row_tokens"],
        architecture=Architecture(**raw["architecture"]),
        chat=_chat(raw["chat"]),
        tasks=tuple(sorted(raw["tasks"])),
        hard=raw["hard"],
        prose=_HERE / "prose" / raw["prose"],
        members={name: _member(name, member, mix) for name, member in raw["members"].items()},
        mix=mix,
    )


def family_of(member: str) -> Settings:
    """The family that a member belongs to; KeyError for an unknown member."""
    for name in family_names():
        if member in settings(name).members:
            return settings(name)
    raise KeyError(member)


def read_yaml(path: Path) -> Any:
    """A YAML file, by the fast loader where there is one: every worker reads its family anew."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), loader)


def _member(name: str, raw: dict[str, Any], mix: Mix) -> Member:
    plan = {**raw["training"], "tokens": int(raw["training"]["tokens"])}
    return Member(name, Shape(**raw["shape"]), Plan(**plan), replace(mix, **raw.get("mix", {})))


def _chat(raw: dict[str, Any]) -> Chat:
    turn, thinking = raw["turn"], raw["thinking"]
    return Chat(
        template=(_HERE / "templates" / raw["template"]).read_text(encoding="utf-8"),
        tokens=tuple(raw["tokens"]),
        begin=raw["begin"],
        end_of_text=raw["end_of_text"],
        opening=turn["opening"],
        end=turn["end"],
        after=turn["after"],
        think=thinking["open"],
        think_end=thinking["close"],
        switch=thinking["switch"],
        system_prompts=tuple(raw["system_prompts"]),
    )
