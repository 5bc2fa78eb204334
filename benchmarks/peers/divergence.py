"""KL divergence of a quantized model from the unquantized one on held-out text, in a peer's environment."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch


def arguments() -> argparse.Namespace:
    """What every peer is given: a model folder, rows of token ids (JSONL), held-out texts, and bits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--prose", type=Path, required=True)
    parser.add_argument("--replies", type=Path, required=True)
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def read_ids(path: Path) -> list[list[int]]:
    """Token ids, a row in each line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tell(peer: str, rows: int, kl: dict[str, float], started: float) -> None:
    """Print what a peer made, in one line of JSON: seconds by the clock, and peak memory in bytes."""
    told = {
        "peer": peer,
        "rows": rows,
        "kl": kl,
        "seconds": round(time.perf_counter() - started, 1),
        "memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    print(json.dumps(told))


class HeldOut:
    """Held-out texts with the unquantized model's log-probabilities of the next token at every position."""

    def __init__(self, model: Any, prose: Path, replies: Path) -> None:
        self._rows = {"prose": read_ids(prose), "replies": read_ids(replies)}
        self._reference = {name: list(_log_probabilities(model, rows)) for name, rows in self._rows.items()}

    def mean_kl(self, model: Any) -> dict[str, float]:
        """Mean KL(unquantized || model) per token, in nats, by kind of text."""
        return {
            name: _mean_kl(self._reference[name], _log_probabilities(model, rows))
            for name, rows in self._rows.items()
        }


@torch.inference_mode()
def _log_probabilities(model: Any, rows: list[list[int]]) -> Iterator[torch.Tensor]:
    """Of each row in turn: (tokens, vocabulary)."""
    for row in rows:
        yield model(input_ids=torch.tensor([row])).logits[0].float().log_softmax(-1)


def _mean_kl(reference: list[torch.Tensor], found: Iterable[torch.Tensor]) -> float:
    parts = [(p.exp() * (p - q)).sum(-1) for p, q in zip(reference, found, strict=True)]
    return float(torch.cat(parts).mean())
