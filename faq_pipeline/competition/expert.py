"""The expert protocol: an expert scores the candidates of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

from faq_pipeline.competition.answers import is_wrong
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import served_target_engine, target_traits
from faq_pipeline.prompting.degeneration import is_empty, is_looping
from faq_pipeline.prompting.rendering import encode, render_sample
from faq_pipeline.store.records import Candidate, Seed, Trace
from faq_pipeline.util.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from faq_pipeline.inference.engine import ServedEngine


Need = Literal["target", "activations", "traces", "scheme", "judge"]
"""What an expert looks at besides the corpus.

- `target`: what the target makes of a text, whichever engine runs it.
- `activations`: the target in this process, on candidates in the form that they calibrate in.
- `traces`: the target's own inference traces.
- `scheme`: how the recipe rounds weights.
- `judge`: the recipe's judge.
"""


@dataclass(frozen=True)
class Group:
    """The candidates of one seed, by position."""

    seed: Seed
    candidates: tuple[Candidate, ...]

    @cached_property
    def eligible(self) -> tuple[Candidate, ...]:
        """The candidates that may win."""
        return tuple(c for c in self.candidates if exclusion(c) is None)

    @cached_property
    def wrong_alone(self) -> bool:
        """Whether only one candidate may win, and its answer is known to be wrong.

        Nothing competes with it, so its win would say nothing: the group has no winner.
        """
        return len(self.eligible) == 1 and is_wrong(self.eligible[0], self.seed)


def exclusion(candidate: Candidate) -> str | None:
    """Why a candidate cannot win: `length` (cut at the limit), `error` (the engine failed), `empty`,
    `looping`; None if it can.
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
    """What an expert may use besides the groups. The target is loaded on first use.

    Attributes:
        traces: the target's own inference traces; empty where no expert needs them.
        notes: what experts had to say to the user.
    """

    cell: Cell
    progress: Progress = field(default_factory=SilentProgress)
    traces: Sequence[Trace] = ()
    notes: list[str] = field(default_factory=list)
    _measured: dict[str, tuple[Sequence[Group], list[float | None]]] = field(default_factory=dict, init=False)

    def measured_once(
        self, figure: str, groups: Sequence[Group], measure: Callable[[], list[float | None]]
    ) -> list[float | None]:
        """A figure of each candidate that several experts read: measured for the first that asks."""
        known = self._measured.get(figure)
        if known is None or known[0] is not groups:
            known = self._measured[figure] = (groups, measure())
        return known[1]

    def note(self, message: str) -> None:
        """Tell the user something of this competition, now and in the summary of every run that uses it."""
        self.progress.note(message)
        self.notes.append(message)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The target's tokenizer."""
        from faq_pipeline.models.loading import load_tokenizer

        return load_tokenizer(self.cell.target)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The target."""
        from faq_pipeline.models.loading import load_model

        return load_model(self.cell.target, self.cell.device)

    def samples(self, groups: Sequence[Group]) -> dict[tuple[int, ...], list[int]]:
        """The candidates as they would enter the calibration set, each text once.

        Keys are the target's token ids; values are the places of the candidates that read so, which
        count the candidates group after group. Those without a token, or with more than the target
        attends to, are left out.
        """
        cell, tokenizer = self.cell, self.tokenizer
        spec = cell.recipe.calibration
        found: dict[tuple[int, ...], list[int]] = {}
        asked = ((group.seed, candidate) for group in groups for candidate in group.candidates)
        for place, (seed, candidate) in enumerate(asked):
            rendered = render_sample(seed, candidate, cell.family, spec.template, tokenizer, spec.reasoning)
            ids = encode(tokenizer, rendered)
            if 0 < len(ids) <= cell.target.context:
                found.setdefault(tuple(ids), []).append(place)
        return found

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
    def _engine(self) -> ServedEngine | None:
        return served_target_engine(self.cell) if target_traits(self.cell).served else None

    def close(self) -> None:
        """Release the target."""
        if self.__dict__.pop("model", None) is not None:
            from faq_pipeline.models.loading import release

            release()


class Expert(Protocol):
    """Scores candidates. Higher is better; scores are compared only within a group."""

    @property
    def name(self) -> str:
        """The name used in recipes."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """The inputs that its scores depend on besides the corpus."""

    def score(self, groups: Sequence[Group], context: Context) -> list[float | None]:
        """One figure for each candidate, group after group, in order; None where it abstains."""
