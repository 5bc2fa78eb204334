"""What the benchmarks of regeneration compare: our engine with its ledger, and a bare client."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.inference.engine import Completion, Engine, Request
from faq_pipeline.inference.ledger import Ledger
from faq_pipeline.inference.sampling import sample
from faq_pipeline.util.progress import SilentProgress


@dataclass(frozen=True)
class Took:
    """One pass over some requests: sampled tokens and wall time, without the start of any server."""

    arm: str
    requests: int
    tokens: int
    seconds: float
    cut: int

    @property
    def speed(self) -> float:
        """Sampled tokens a second."""
        return self.tokens / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """For the results file."""
        return {**asdict(self), "tokens_per_second": self.speed}

    def __str__(self) -> str:
        return (
            f"{self.arm}: {self.tokens:,} tokens in {self.seconds:.1f} s,"
            f" {self.speed:,.0f} tokens/s ({self.requests:,} requests, {self.cut} cut)"
        )


class Running:
    """An engine that was entered before: `sample` enters and leaves this without starting anything."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def through_engine(arm: str, engine: Engine, requests: Sequence[Request], sampling: Sampling) -> Took:
    """Our whole path: units, ledger on disk, engine. The engine is running, the ledger new."""
    with TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder), {"benchmark": arm})
        started = time.perf_counter()
        sampled = sample(Running(engine), requests, sampling, ledger, SilentProgress())
        seconds = time.perf_counter() - started
    return _took(arm, sampled.completions.values(), seconds)


def through_bare_client(
    base_url: str,
    model: str,
    requests: Sequence[Request],
    sampling: Sampling,
    concurrency: int,
    *,
    logprobs: bool = True,
) -> Took:
    """What one writes in ten lines: the openai client, `gather`, a semaphore. The same requests as ours.

    Args:
        logprobs: ask for the sampled tokens' log-probabilities, as our engine does.
    """
    started = time.perf_counter()
    made = asyncio.run(_gather(base_url, model, requests, sampling, concurrency, logprobs))
    arm = "bare client" if logprobs else "bare client, no log-probabilities"
    return _took(arm, made, time.perf_counter() - started)


async def _gather(
    base_url: str,
    model: str,
    requests: Sequence[Request],
    sampling: Sampling,
    concurrency: int,
    logprobs: bool,
) -> list[Completion]:
    from openai import AsyncOpenAI

    slots = asyncio.Semaphore(concurrency)

    async def one(api: AsyncOpenAI, request: Request) -> Completion:
        async with slots:
            answer = await api.completions.create(
                model=model,
                prompt=request.prompt,
                seed=request.seed,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                logprobs=0 if logprobs else None,
                extra_body={"skip_special_tokens": False, "add_special_tokens": False},
            )
        choice = answer.choices[0]
        assert answer.usage is not None
        given = choice.logprobs.token_logprobs if choice.logprobs else None
        logprob = sum(value or 0.0 for value in given) if given else None
        cut = choice.finish_reason == "length"
        tokens = answer.usage.completion_tokens
        return Completion(request.id, choice.text, tokens, logprob, "length" if cut else "stop")

    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=3600) as api:
        return await asyncio.gather(*(one(api, request) for request in requests))


def ratios(rounds: Iterable[tuple[Took, Took]]) -> dict[str, float]:
    """Speed of the first over that of the second: median, least and greatest over the rounds."""
    found = [ours.speed / bare.speed for ours, bare in rounds]
    return {"median": statistics.median(found), "least": min(found), "greatest": max(found)}


def _took(arm: str, completions: Iterable[Completion], seconds: float) -> Took:
    made = list(completions)
    if failed := [completion.error for completion in made if completion.finish == "error"]:
        raise RuntimeError(f"{arm}: {len(failed)} requests failed: {failed[0]}")
    cut = sum(completion.finish == "length" for completion in made)
    return Took(arm, len(made), sum(completion.tokens for completion in made), seconds, cut)
