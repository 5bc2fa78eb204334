"""Groups made by hand."""

from __future__ import annotations

from faq_pipeline.competition.expert import Group
from faq_pipeline.store.records import Candidate, Seed


def make_seed(seed_id: str = "s0", answer: str | None = "7") -> Seed:
    return Seed(seed_id, "Mira has 12 apples and gives 5 away.", "question", answer, "sums", "tests", "MIT")


def make_candidate(position: int, text: str = "She keeps seven. Answer: 7", **changes: object) -> Candidate:
    fields = {
        "id": f"c{position}",
        "seed_id": "s0",
        "position": position,
        "source": "teacher",
        "model": "big@00000000",
        "prompt": "",
        "text": text,
        "reasoning": "",
        "answer": text,
        "tokens": 10,
        "logprob": -5.0,
        "finish": "stop",
    }
    return Candidate(**{**fields, **changes})  # type: ignore[arg-type]


def make_group(*candidates: Candidate, answer: str | None = "7") -> Group:
    return Group(make_seed(answer=answer), candidates)
