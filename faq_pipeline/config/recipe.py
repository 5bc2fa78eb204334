"""A recipe: how calibration data is made, how weights are quantized, how the result is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from faq_pipeline.config.yaml import Strict

Fraction = Annotated[float, Field(ge=0, le=1)]

DRAW = "draw"
"""The selection that takes samples in the order in which their seeds were drawn."""


class Dataset(Strict):
    """Seeds from a hub dataset, read in order from a pinned revision."""

    name: str
    config: str | None = None
    split: str = "train"
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    text: str = "text"
    """Column that becomes the seed's text; each row is a `text` seed."""
    licence: str = "unknown"


class Seeds(Strict):
    """Which seed samples enter; `count` of them are drawn, balanced over domains."""

    path: Path | None = None
    dataset: Dataset | None = None
    count: PositiveInt

    @model_validator(mode="after")
    def _check_source(self) -> Seeds:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("seeds need either 'path' or 'dataset', and not both")
        return self


class Sampling(Strict):
    """How candidates are sampled from the teacher."""

    temperature: Annotated[float, Field(ge=0)] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: PositiveInt


class Endpoint(Strict):
    """Servers of one model that speak the OpenAI protocol. Keys stay in the environment."""

    base_urls: Annotated[list[str], Field(min_length=1)]
    """One server, or several of which each answers for all: `http://host:8000/v1`."""
    model: str | None = None
    """The name it is served under; the only one that the server lists where absent."""
    key: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Name of the environment variable that holds the key."""


class Regeneration(Strict):
    """Where candidates come from. `original` passes seeds through; `random` is random tokens."""

    source: Literal["teacher", "self", "original", "random"]
    teacher: str = "auto"
    """A member's name, or `auto`: the largest within the family's memory budget."""
    allow_cross_family: bool = False
    candidates: PositiveInt = 1
    sampling: Sampling | None = None
    engine: str = "transformers"
    """What samples from the teacher: `transformers`, `vllm` (a server of our own) or `endpoint`."""
    endpoint: Endpoint | None = None
    """The servers of engine `endpoint`."""
    batch_size: PositiveInt = 64
    """Candidates generated at once by the `transformers` engine."""

    @model_validator(mode="after")
    def _check_sampling(self) -> Regeneration:
        if self.source in ("teacher", "self") and self.sampling is None:
            raise ValueError(f"source {self.source!r} needs 'sampling'")
        if (self.engine == "endpoint") != (self.endpoint is not None):
            raise ValueError("engine 'endpoint' needs 'endpoint', and no other engine has one")
        return self


class Judge(Strict):
    """The model that expert `judge` asks."""

    endpoint: Endpoint
    rubric: str | None = None
    """What a good candidate is, in words; the expert's own where absent."""


class Competition(Strict):
    """Experts and their weights; `random` picks any member of the group (the control)."""

    selection: Literal["experts", "random"] = "experts"
    experts: dict[str, PositiveFloat] = {}
    judge: Judge | None = None

    @model_validator(mode="after")
    def _check_experts(self) -> Competition:
        if self.selection == "experts" and not self.experts:
            raise ValueError("selection 'experts' needs at least one expert")
        if ("judge" in self.experts) != (self.judge is not None):
            raise ValueError("expert 'judge' needs the section 'judge', and it is for that expert alone")
        return self


class Calibration(Strict):
    """Re-normalization: one form, one length, one budget."""

    template: Literal["chat", "raw"] = "chat"
    reasoning: Literal["keep", "drop"] = "keep"
    """`drop` leaves the chain of thought out of the winners (a control)."""
    tokens: PositiveInt
    """Budget of the whole set; equal budgets make sets comparable."""
    sequence_length: PositiveInt
    selection: str = DRAW
    """In which order winners of different seeds fill the budget: `draw`, or a selector's name."""
    originals: Annotated[float, Field(ge=0, lt=1)] = 0
    """Share of the budget that the same seeds fill as they were before they were regenerated."""

    @model_validator(mode="after")
    def _check_budget(self) -> Calibration:
        if self.tokens < self.sequence_length:
            raise ValueError("'tokens' must be at least one 'sequence_length'")
        return self


class Quantization(Strict):
    """Weights to integers, by llmcompressor."""

    method: Literal["rtn", "gptq", "awq", "smoothquant"]
    """`awq` is AWQ then round-to-nearest; `smoothquant` is SmoothQuant then GPTQ."""
    scheme: str
    """A preset of compressed-tensors: W4A16, W3A16, W8A8, ..."""
    group_size: PositiveInt | Literal["channel"]
    ignore: list[str] = ["lm_head"]
    actorder: Literal["static", "weight"] | None = None
    dampening: PositiveFloat = 0.01
    smoothing: Fraction = 0.5
    sample_weights: Literal["equal_sequences"] | None = None
    """`equal_sequences`: in GPTQ's Hessian every sample counts alike, however long it is."""
    token_weights: Literal["attention"] | None = None
    """`attention`: in GPTQ's Hessian tokens that are attended to more count more."""
    ranks: Annotated[int, Field(ge=2)] | None = None
    """Processes that share the calibration rows, on a GPU each. The number is part of the identity: sums
    over rows round differently."""


class Gate(Strict):
    """What the quantized model must keep to be publishable."""

    recovery: Fraction


class Evaluation(Strict):
    """How the result is judged."""

    tasks: Annotated[list[str], Field(min_length=1)]
    include: Path | None = None
    """Folder of lm-eval task YAMLs; absent: lm-eval's own tasks."""
    max_new_tokens: PositiveInt
    engine: Literal["transformers", "vllm"] = "transformers"
    """What writes the answers, and the inference traces."""
    batch_size: PositiveInt = 64
    """Questions answered at once by the `transformers` engine."""
    limit: PositiveInt | None = None
    """First so many questions of each task (for smoke tests)."""
    prose: Path
    """JSONL of held-out plain text, for the divergence outside the tasks."""
    traces: PositiveInt = 64
    """Reference answers (and as many prose passages) on which the divergence is measured."""
    gate: Gate | None = None


class Recipe(Strict):
    """One recipe, from seed to verdict."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: str
    families: Annotated[list[str], Field(min_length=1)]
    baselines: list[str] = []
    """Recipes with the original data against which loss reduction is measured."""
    draw: NonNegativeInt = 0
    """Number of the random draw: decides seeds, sampling and random choices."""
    seeds: Seeds
    regeneration: Regeneration
    competition: Competition
    calibration: Calibration
    quantization: Quantization
    evaluation: Evaluation
