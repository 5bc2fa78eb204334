"""What an expert is: one opinion on the candidates of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from faq_pipeline.cell import Cell
from faq_pipeline.progress import Progress, Silent
from faq_pipeline.records import Candidate, Seed
from faq_pipeline.regeneration.degeneration import is_empty, is_looping

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from faq_pipeline.regeneration.vllm_engine import VllmEngine


@dataclass(frozen=True)
class Group:
    """The candidates of one seed, by position."""

    seed: Seed
    candidates: tuple[Candidate, ...]

    @cached_property
    def eligible(self) -> tuple[Candidate, ...]:
        """The candidates that may win."""
        return tuple(c for c in self.candidates if exclusion(c) is None)


def exclusion(candidate: Candidate) -> str | None:
    """Why a candidate can never win: `length` (cut at the limit), `error` (the engine failed), `empty`,
    `looping`; None if it may.
    """
    if candidate.finish in ("length", "error"):
        return candidate.finish
    if is_empty(candidate.text):
        return "empty"
    return "looping" if is_looping(candidate.text) else None


def groups_of(seeds: Iterable[Seed], candidates: Iterable[Candidate]) -> list[Group]:
    """Groups in the order of the seeds; seeds without a candidate are left out."""
    by_seed: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_seed.setdefault(candidate.seed_id, []).append(candidate)
    return [
        Group(seed, tuple(sorted(by_seed[seed.id], key=lambda c: c.position)))
        for seed in seeds
        if seed.id in by_seed
    ]


@dataclass
class Context:
    """What an expert may use besides the groups. The target is loaded when first asked for."""

    cell: Cell
    progress: Progress = field(default_factory=Silent)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The target's tokenizer."""
        from faq_pipeline.models.loading import load_tokenizer

        return load_tokenizer(self.cell.target)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The target itself."""
        from faq_pipeline.models.loading import load_model

        return load_model(self.cell.target, self.cell.device)

    @property
    def longest(self) -> int:
        """Most tokens of a text that `mean_logprobs` takes."""
        if self._engine is None:
            return self.cell.target.context
        return self._engine.context - 1  # a server writes a token after it

    def mean_logprobs(
        self, items: Sequence[tuple[list[int], list[int]]], advance: Callable[[int], None]
    ) -> Sequence[float | None]:
        """Mean log-probability (nats) per reply token under the target, of (prompt, reply) token ids.

        By the evaluation's engine: from the target in memory, or from a server that runs only as
        long. None where a server refuses a text.
        """
        if self._engine is not None:
            self.close()
            with self._engine as engine:
                return engine.likelihoods(items, advance)
        from faq_pipeline.models.likelihood import Scored, mean_logprobs

        return mean_logprobs(self.model, [Scored(*item) for item in items], advance)

    @cached_property
    def _engine(self) -> VllmEngine | None:
        if self.cell.recipe.evaluation.engine != "vllm":
            return None
        from faq_pipeline.regeneration.vllm_engine import VllmEngine

        return VllmEngine(self.cell.target, self.cell.device, self.cell.serving(self.cell.target))

    def close(self) -> None:
        """Let the target go."""
        if self.__dict__.pop("model", None) is not None:
            from faq_pipeline.models.loading import release

            release()


class Expert(Protocol):
    """One way to judge candidates. Higher is better; only comparisons within a group count."""

    @property
    def name(self) -> str:
        """What recipes call it."""

    @property
    def needs_target(self) -> bool:
        """Whether its scores depend on the target's weights."""

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """One figure for each candidate, group after group, in order; None where it abstains."""
