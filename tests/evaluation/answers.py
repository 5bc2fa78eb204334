"""Answers made by hand, for the statistics."""

from __future__ import annotations

from collections.abc import Sequence

from faq_pipeline.store.records import Answer


def answers(
    correct: Sequence[float], *, task: str = "sums", prompt: str = "p", domain: str = ""
) -> list[Answer]:
    """One answer a score; equal positions are equal questions."""
    return [
        Answer(
            task=task,
            domain=domain or task,
            doc_id=i,
            doc_hash=f"d{i}",
            filter="none",
            prompt_hash=f"{prompt}{i}",
            target="1",
            response="1",
            correct=float(score),
            tokens=1,
            truncated=False,
        )
        for i, score in enumerate(correct)
    ]
