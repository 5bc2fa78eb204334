"""Resumable sampling: reuses the samples in the ledger and adds the missing ones to it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.engine import Completion, Engine, Request, Unit
from faq_pipeline.inference.ledger import Ledger
from faq_pipeline.util.progress import Progress

TELL_EVERY = 2.0
"""Seconds between two looks at the engine's own figures."""

MOST_ERRORS = 0.5
"""Share of requests that may fail for good; beyond it something is wrong with the engine itself."""


@dataclass(frozen=True)
class Sampled:
    """Completions by request id, and their cost.

    Attributes:
        reused: samples that were in the ledger already.
        seconds: engine time of all samples, of earlier runs too.
        figures: the engine's own, of this run alone; empty where the ledger held everything.
    """

    completions: dict[str, Completion]
    reused: int
    seconds: float
    figures: dict[str, Any]
    bytes_repeat: bool
    """Whether the same requests would give the same bytes again."""


def sample(
    engine: Engine, requests: Iterable[Request], sampling: Sampling, ledger: Ledger, progress: Progress
) -> Sampled:
    """A completion for every request. The engine is started only if one is missing.

    Raises:
        FaqError: the engine cannot be started or is lost, or most requests fail. What was finished
            is in the ledger.
    """
    units = engine.units(requests)
    total = sum(len(unit.requests) for unit in units)
    found = ledger.finished(units)
    waiting = [unit for unit in units if unit.requests[0].id not in found]
    progress.start("candidates", total)
    for segment, lines in ledger.damaged.items():
        what = "1 damaged line is" if lines == 1 else f"{lines:,} damaged lines are"
        progress.note(f"{segment}: {what} skipped; what they held is sampled again")
    if found:
        progress.note(f"{len(found):,} of {total:,} candidates were finished by an earlier run")
        progress.advance(len(found))
    reused, figures = len(found), {}
    if waiting:
        progress.detail("starting the engine")
        with engine, ledger:  # so that the engine's start counts as nobody's time
            tally = _Tally(engine, progress)
            for unit, completions in _by_unit(waiting, engine.generate(waiting, sampling)):
                found.update(ledger.record(unit, completions))
                tally.add(completions.values())
            figures = engine.figures()
    check_sampled(entry.completion for entry in found.values())
    return Sampled(
        completions={name: entry.completion for name, entry in found.items()},
        reused=reused,
        seconds=round(sum(entry.seconds for entry in found.values()), 3),
        figures=figures,
        bytes_repeat=engine.repeats,
    )


def _by_unit(
    units: Sequence[Unit], completions: Iterator[Completion]
) -> Iterator[tuple[Unit, dict[str, Completion]]]:
    """Yield each unit when its last completion has arrived."""
    unit_of = {request.id: unit for unit in units for request in unit.requests}
    arrived: dict[str, dict[str, Completion]] = {}
    for completion in completions:
        unit = unit_of[completion.request_id]
        own = arrived.setdefault(unit.requests[0].id, {})
        own[completion.request_id] = completion
        if len(own) == len(unit.requests):
            yield unit, arrived.pop(unit.requests[0].id)


def check_sampled(completions: Iterable[Completion]) -> None:
    """Raise if most samples failed.

    Raises:
        FaqError: it did; tells the first error.
    """
    made = list(completions)
    errors = [completion.error for completion in made if completion.finish == "error"]
    if len(errors) > MOST_ERRORS * len(made):
        raise FaqError(
            f"{len(errors):,} of {len(made):,} samples failed, the first with: {errors[0]}",
            hint="fix the cause and run again: finished candidates are kept",
        )


@dataclass
class _Tally:
    """Reports speed, truncated samples and cache hits while candidates arrive."""

    engine: Engine
    progress: Progress
    _started: float = field(default_factory=time.perf_counter)
    _last_shown: float = 0.0
    _tokens: int = 0
    _cut: int = 0
    _failed: int = 0

    def add(self, completions: Iterable[Completion]) -> None:
        arrived = list(completions)
        self._tokens += sum(c.tokens for c in arrived)
        self._cut += sum(c.finish == "length" for c in arrived)
        self._failed += sum(c.finish == "error" for c in arrived)
        now = time.perf_counter()
        if now - self._last_shown > TELL_EVERY:
            self._last_shown = now
            self.progress.detail(self._line(now))
        self.progress.advance(len(arrived))

    def _line(self, now: float) -> str:
        speed = self._tokens / max(now - self._started, 1e-9)
        parts = [f"{speed:,.0f} tokens/s", f"{self._cut} cut"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if (hits := self.engine.figures().get("prefix_cache_hit_rate")) is not None:
            parts.append(f"{hits:.0%} prefix-cache hits")
        return ", ".join(parts)
