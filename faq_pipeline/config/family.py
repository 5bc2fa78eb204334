"""A family: members that share tokenizer, template and habits. One YAML file, and what is known besides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from faq_pipeline.config.operation import Discovery, Publish, Requantize
from faq_pipeline.config.paths import ConfigPath
from faq_pipeline.config.yaml import Strict
from faq_pipeline.util.secrets import is_secret_name

COMMIT = re.compile(r"[0-9a-f]{40}")


class Prompts(Strict):
    """What the teacher is asked, a Jinja template for each kind of seed; `{{ text }}` is the seed's text."""

    question: str = "{{ text }}"
    """For seeds of kind `question`."""
    text: str = "Read the passage and reason about it step by step.\n\n{{ text }}"
    """For seeds of kind `text`."""


class Thinking(Strict):
    """How members of the family mark their reasoning."""

    open: str = "<think>"
    """Mark at which reasoning begins."""
    close: str = "</think>"
    """Mark at which it ends."""
    template_kwargs: dict[str, bool | str | int] = {}
    """Passed to the chat template, e.g. `enable_thinking: true` for Qwen3."""


class Serving(Strict):
    """How vLLM serves a member: over how many GPUs, with how much of their memory."""

    tensor_parallel: PositiveInt = 1
    """GPUs that share each layer of one copy."""
    pipeline_parallel: PositiveInt = 1
    """Groups of GPUs that the layers of one copy are spread over."""
    data_parallel: PositiveInt = 1
    """Copies behind one server."""
    memory: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of a GPU's memory that the server takes."""
    context: PositiveInt | None = None
    """Most tokens of prompt and reply; the member's own where absent."""
    arguments: dict[str, bool | int | float | str] = {}
    """More options of vLLM's server: `max_num_seqs: 512`, `distributed_executor_backend: ray`."""

    @field_validator("arguments")
    @classmethod
    def _check_arguments(
        cls, arguments: dict[str, bool | int | float | str]
    ) -> dict[str, bool | int | float | str]:
        """They stand on a command line, which every user of the machine can read."""
        for name, value in arguments.items():
            if not isinstance(value, bool) and is_secret_name(name):
                raise ValueError(f"{name!r} is a secret, and everybody can read a server's command line")
        return arguments

    @property
    def gpus_per_copy(self) -> int:
        """GPUs that hold one copy of the weights together."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def gpus(self) -> int:
        """GPUs that serve the member."""
        return self.gpus_per_copy * self.data_parallel


class Member(Strict):
    """One model of the family: a local folder, or a hub repository at a commit."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """What users call it."""
    path: ConfigPath | None = None
    """Folder with its config, tokenizer and safetensors."""
    hub: str | None = None
    """Repository on the hub, in the place of `path`: `Qwen/Qwen3-8B`."""
    revision: str | None = None
    """Commit of the repository, 40 hex digits."""
    parameters: PositiveInt
    """Number of weights; orders members by size and estimates memory before anything is loaded."""
    licence: str = "unknown"
    """Licence of its weights; the family's where it is unknown."""
    chat_template: ConfigPath | None = None
    """Jinja file of a chat template, for a model that has none or in the place of its own. Its checkpoints
    hold it too."""
    trust_remote_code: bool = False
    """Whether the repository's own Python code may run. Needs a pinned revision."""
    serving: Serving | None = None
    """Replaces the family's."""

    @model_validator(mode="after")
    def _check_source(self) -> Member:
        if (self.path is None) == (self.hub is None):
            raise ValueError(f"member {self.name!r} needs either 'path' or 'hub', and not both")
        if self.hub is not None and not (self.revision and COMMIT.fullmatch(self.revision)):
            raise ValueError(
                f"member {self.name!r}: 'revision' must be a 40-digit commit hash, not a branch or tag"
            )
        if self.trust_remote_code and self.hub is None:
            raise ValueError(
                f"member {self.name!r}: 'trust_remote_code' is allowed only for a hub member with a pinned"
                " 'revision'"
            )
        return self


class Family(Strict):
    """A model family and what the pipeline must know to regenerate with it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """What users and recipes call it."""
    owners: list[str] = []
    """Hub owners whose repositories may be loaded as members."""
    repositories: list[str] = []
    """Single hub repositories that may be, besides: `faq quantize` notes here those that its user named."""
    licence: str = "unknown"
    """Licence of the members that name none."""
    memory_budget_gib: PositiveFloat
    """Most memory that a teacher may take, weights and working space together."""
    prompts: Prompts = Prompts()
    thinking: Thinking = Thinking()
    serving: Serving = Serving()
    """Of members that have none of their own."""
    development: ConfigPath
    """JSONL of prompts for inference traces: the only ones that fitness and selection may look at."""
    discovery: Discovery | None = None
    """How new members are found; absent: only those listed below."""
    requantize: Requantize | None = None
    """What is quantized again without anybody asking; left out: nothing."""
    publish: Publish | None = None
    """Where checkpoints are published, and under which licences; left out: nowhere."""
    members: Annotated[list[Member], Field(min_length=1)]
    """Its models."""

    @model_validator(mode="after")
    def _check_members(self) -> Family:
        names = [member.name for member in self.members]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"member {sorted(twice)[0]!r} is listed twice")
        if self.discovery is not None and self.discovery.directory is None and not self.owners:
            raise ValueError("'discovery' on the hub needs 'owners', or give it a 'directory'")
        for member in self.members:
            if member.hub is None or member.hub in self.repositories:
                continue
            if member.hub.split("/")[0] not in self.owners:
                raise ValueError(
                    f"member {member.name!r}: owner of {member.hub!r} is not in this family's 'owners'"
                )
        return self

    def serving_of(self, member: Member) -> Serving:
        """How a member is served."""
        return member.serving or self.serving

    def member(self, name: str) -> Member | None:
        """The member of that name, or None."""
        return next((member for member in self.members if member.name == name), None)


@dataclass(frozen=True)
class WithdrawnMember:
    """A member that was there and is none now."""

    family: str
    source: str
    reason: str


@dataclass(frozen=True)
class KnownFamilies:
    """Families, and what is known of their members besides.

    Attributes:
        families: by name, each with its current members at their current revisions.
        revisions: by member and first 8 digits of the commit, the member as it was then.
        withdrawn: members that were there and are none now, by name.
        discovered: names of the members that no file names.
    """

    families: Mapping[str, Family]
    revisions: Mapping[str, Mapping[str, Member]] = field(default_factory=dict)
    withdrawn: Mapping[str, WithdrawnMember] = field(default_factory=dict)
    discovered: frozenset[str] = frozenset()
