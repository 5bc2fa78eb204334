"""Figures of a corpus, for its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faq_pipeline.config.family import Thinking
from faq_pipeline.inference.sampling import Sampled
from faq_pipeline.models.chat import is_thinking
from faq_pipeline.prompting.degeneration import is_empty, is_looping
from faq_pipeline.store.records import Candidate


def sampling_figures(rows: Sequence[Candidate], sampled: Sampled) -> dict[str, Any]:
    """Tokens and time of the samples, those of earlier, interrupted runs included."""
    tokens = sum(row.tokens for row in rows)
    gpus = sampled.figures.get("gpus")
    return {
        "tokens_per_second": round(tokens / sampled.seconds, 1) if sampled.seconds else None,
        "sampling_seconds": sampled.seconds,
        "gpu_seconds": None if gpus is None else round(gpus * sampled.seconds, 3),
        "reused_candidates": sampled.reused,
        "bytes_repeat": sampled.bytes_repeat,
        "engine": sampled.figures,
    }


def corpus_figures(rows: Sequence[Candidate], thinking: Thinking) -> dict[str, Any]:
    """Counts and lengths of the candidates. `unclosed` are those that ended within their reasoning."""
    generated = [row for row in rows if row.logprob is not None]
    tokens = sum(row.tokens for row in rows)
    logprob = sum(row.logprob for row in generated if row.logprob is not None)
    sampled = sum(row.tokens for row in generated)
    return {
        "candidates": len(rows),
        "groups": len({row.seed_id for row in rows}),
        "truncated": sum(row.finish == "length" for row in rows),
        "failed": sum(row.finish == "error" for row in rows),
        "empty": sum(is_empty(row.text) for row in rows),
        "looping": sum(is_looping(row.text) for row in rows),
        "unclosed": sum(row.finish == "stop" and is_thinking(row.prompt, row.text, thinking) for row in rows),
        "tokens": tokens,
        "mean_tokens": round(tokens / len(rows), 1) if rows else None,
        "mean_logprob_per_token": round(logprob / sampled, 4) if sampled else None,
    }


def unclosed_notes(figures: dict[str, Any]) -> list[str]:
    """What the user should know of candidates that ended within their reasoning, from `corpus_figures`."""
    if not figures["unclosed"]:
        return []
    return [
        f"{figures['unclosed']} of {figures['candidates']} candidates ended in the middle of their reasoning:"
        " their whole text counts as the answer"
    ]
