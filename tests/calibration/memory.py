"""Peak memory of experts and selectors over a corpus and one four times as large, in a process of its own.

    python -m tests.calibration.memory FOLDER

Prints, as one JSON object, the growth of the peak from the small corpus to the large one for each of
them, and under `kept` what keeping the moments of the added samples would take, in bytes.
"""

from __future__ import annotations

import json
import random
import resource
import sys
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from faq_pipeline.activations.sample_moments import sample_moments
from faq_pipeline.activations.trace_moments import trace_moments
from faq_pipeline.calibration.selectors import SELECTORS
from faq_pipeline.calibration.selectors.fidelity import CHANNELS
from faq_pipeline.calibration.selectors.protocol import Activations, Pool
from faq_pipeline.competition.experts import EXPERTS
from faq_pipeline.competition.moments_expert import MomentsExpert
from faq_pipeline.store.records import Trace

SMALL, LARGE = 500, 2000
LAYERS = 4
NAMES = ("activation_fidelity", "outlier_coverage", "clusters", "coverage", "entropy", "fidelity")


def corpus(count: int) -> list[list[int]]:
    """Samples of one length, so that all full batches are of one shape."""
    drawn = random.Random(0)
    return [[drawn.randrange(300) for _ in range(8)] for _ in range(count)]


def model() -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=300, hidden_size=256, intermediate_size=512, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


def go_through(name: str, target: Qwen3ForCausalLM, samples: list[list[int]], scratch: Path) -> None:
    """What the stage does with a corpus: an expert rates it, or a selector chooses from it."""
    traces = trace_moments(target, [Trace("t", "a", ids, 1) for ids in corpus(20)], _nothing)
    if name in SELECTORS:
        chooser = SELECTORS[name].start(Pool(samples, Activations(target, traces, scratch, _nothing)))
        for start in range(5):
            chooser.take(chooser.best(range(start, len(samples), 5)))
        return
    expert = EXPERTS[name]
    assert isinstance(expert, MomentsExpert)
    rate = expert.rate_against(traces)
    assert len([v for batch in sample_moments(target, samples, _nothing) for v in rate(batch.squares)]) > 0


def peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _nothing(done: int) -> None:
    pass


def main(scratch: Path) -> dict[str, int]:
    target = model()
    for name in NAMES:
        go_through(name, target, corpus(SMALL), scratch)
    found = {"kept": (LARGE - SMALL) * LAYERS * 4 * CHANNELS * 4}  # 4 inputs a layer, 4 bytes each
    for name in NAMES:
        before = peak()
        go_through(name, target, corpus(LARGE), scratch)
        found[name] = peak() - before
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]))))
