"""Reading a passage step by step: list its facts, infer, conclude in one sentence."""

from __future__ import annotations

from training.world import Passage

STYLES = 3


def thought(passage: Passage, style: int) -> str:
    """The reasoning in one of three styles; every one ends with the inference."""
    notes = passage.notes
    if style == 0:
        return "Facts: " + "; ".join(notes) + f"\n{passage.reason}"
    if style == 1:
        readings = " ".join(
            f"{'First' if i == 0 else 'Then'} I read: {note}." for i, note in enumerate(notes)
        )
        return f"{readings} So: {passage.reason}"
    lines = [f"{i}) {note}" for i, note in enumerate(notes, 1)]
    return "Plan: list the facts, then conclude.\n" + "\n".join(lines) + f"\nSo: {passage.reason}"
