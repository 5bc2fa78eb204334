"""A recipe: how calibration data is made, how weights are quantized, how the result is judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from faq_pipeline.config.endpoint import Endpoint
from faq_pipeline.config.paths import ConfigPath
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.config.yaml import Strict

Fraction = Annotated[float, Field(ge=0, le=1)]

DRAW = "draw"
"""The selection that takes samples in the order in which their seeds were drawn."""

TEACHER, SELF, ORIGINAL, RANDOM = "teacher", "self", "original", "random"
"""Where candidates come from: a teacher or the target itself writes them, they are the seeds passed
through, or random tokens."""
GENERATED = (TEACHER, SELF)
"""Sources whose candidates a model writes."""
AUTO = "auto"
"""The teacher that is the family's largest member within its memory budget."""


class Dataset(Strict):
    """Seeds from a hub dataset, read in order from a pinned revision."""

    name: str
    """Repository on the hub: `allenai/c4`."""
    config: str | None = None
    """The dataset's configuration, where it has several."""
    split: str = "train"
    """The split that is read."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    """Commit of the dataset, 40 hex digits."""
    text: str = "text"
    """Column that becomes the seed's text; each row is a `text` seed."""
    licence: str = "unknown"
    """Licence of its texts, which publication looks at."""


class Seeds(Strict):
    """Which seed samples enter; `count` of them are drawn, balanced over domains."""

    path: ConfigPath | None = None
    """JSONL file of seeds."""
    dataset: Dataset | None = None
    """Hub dataset, in the place of `path`."""
    count: PositiveInt
    """How many seeds are drawn."""

    @model_validator(mode="after")
    def _check_source(self) -> Seeds:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("seeds need either 'path' or 'dataset', and not both")
        return self


class Sampling(Strict):
    """How candidates are sampled from the teacher."""

    temperature: Annotated[float, Field(ge=0)] = 0.8
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the probability that is sampled from; 1 is all."""
    max_new_tokens: PositiveInt
    """Most tokens of a candidate. One that is cut there cannot win."""


class Regeneration(Strict):
    """Where candidates come from. `original` passes seeds through; `random` is random tokens."""

    source: Literal["teacher", "self", "original", "random"]
    """What candidates come from: the teacher, the target itself, the seeds as they are, or random tokens."""
    teacher: str = AUTO
    """A member's name, or `auto`: the largest within the family's memory budget."""
    allow_cross_family: bool = False
    """Whether the teacher may be of another family, or have another tokenizer."""
    candidates: PositiveInt = 1
    """Candidates of each seed: the size of a group."""
    sampling: Sampling | None = None
    """How candidates are sampled; needed by `teacher` and `self`."""
    engine: str = "transformers"
    """What samples from the teacher: `transformers`, `vllm` (a server of our own) or `endpoint`."""
    endpoint: Endpoint | None = None
    """The servers of a remote engine, as `endpoint` is; no other engine has them."""
    batch_size: PositiveInt = 64
    """Candidates generated at once by the `transformers` engine."""

    @model_validator(mode="after")
    def _check_sampling(self) -> Regeneration:
        if self.generates and self.sampling is None:
            raise ValueError(f"source {self.source!r} needs 'sampling'")
        return self

    @property
    def generates(self) -> bool:
        """Whether a model writes the candidates."""
        return self.source in GENERATED

    @property
    def follows_family(self) -> bool:
        """Whether the teacher is chosen among the family's members: it changes as they do."""
        return self.source == TEACHER and self.teacher == AUTO


class Judge(Strict):
    """The model that expert `judge` asks."""

    endpoint: Endpoint
    """The judge's servers."""
    rubric: str | None = None
    """What a good candidate is, in words; the expert's own where absent."""


class Competition(Strict):
    """Experts and their weights; `random` picks any member of the group (the control)."""

    selection: Literal["experts", "random"] = "experts"
    """`experts`: the best total wins. `random`: any candidate that may win (a control)."""
    experts: dict[str, PositiveFloat] = {}
    """Weight of each expert, by its name. Weights of experts that abstain are shared out."""
    judge: Judge | None = None
    """The model that expert `judge` asks; for that expert alone."""

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
    """`chat`: the target's chat template. `raw`: the text alone."""
    reasoning: Literal["keep", "drop"] = "keep"
    """`drop` leaves the chain of thought out of the winners (a control)."""
    tokens: PositiveInt
    """Budget of the whole set; equal budgets make sets comparable."""
    sequence_length: PositiveInt
    """Most tokens of a calibration row."""
    selection: str = DRAW
    """In which order winners of different seeds fill the budget: `draw`, or a selector's name."""
    originals: Annotated[float, Field(ge=0, lt=1)] = 0
    """Share of the budget that the same seeds fill as they were before they were regenerated."""

    @model_validator(mode="after")
    def _check_budget(self) -> Calibration:
        if self.tokens < self.sequence_length:
            raise ValueError("'tokens' must be at least one 'sequence_length'")
        return self


class Gate(Strict):
    """What the quantized model must keep to be publishable."""

    recovery: Fraction
    """Least recovery. Its interval's lower bound must reach it."""


class Evaluation(Strict):
    """How the result is judged."""

    tasks: list[str] = []
    """lm-eval tasks that are asked. Without any no accuracy is measured, only the divergence of the
    quantized model from the reference: on its replies to the development prompts, and on prose."""
    include: ConfigPath | None = None
    """Folder of lm-eval task YAMLs; absent: lm-eval's own tasks."""
    max_new_tokens: PositiveInt
    """Most tokens of an answer, reasoning included."""
    engine: str = "transformers"
    """What writes the answers, and the inference traces: `transformers` or `vllm`."""
    batch_size: PositiveInt = 64
    """Questions answered at once by the `transformers` engine."""
    limit: PositiveInt | None = None
    """First so many questions of each task (for smoke tests)."""
    prose: ConfigPath
    """JSONL of held-out plain text, for the divergence outside the tasks."""
    traces: PositiveInt = 64
    """Reference answers (and as many prose passages) on which the divergence is measured."""
    gate: Gate | None = None
    """What the quantized model must keep; left out: there is no gate."""

    @model_validator(mode="after")
    def _check_gate(self) -> Evaluation:
        if self.gate is not None and not self.tasks:
            raise ValueError("a gate needs 'tasks': recovery is measured on them")
        return self


NAME = r"^[a-z0-9][a-z0-9._-]*$"
"""What a recipe can be called."""


class Recipe(Strict):
    """One recipe, from seed to verdict."""

    name: Annotated[str, Field(pattern=NAME)]
    """The file's name without `.yaml`."""
    title: str
    """What it is, in a line."""
    families: Annotated[list[str], Field(min_length=1)]
    """Families whose members it is for."""
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

    @property
    def candidate_count(self) -> int:
        """Candidates of all seeds."""
        return self.seeds.count * self.regeneration.candidates
