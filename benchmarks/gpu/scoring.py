"""Teacher scoring: what vLLM's `prompt_logprobs` say of candidates, beside what was recorded at sampling.

    python -m benchmarks.gpu.scoring [--member kin-4m] [--recipe faq-gptq-w4a16-vllm] [--out FILE]

After `faq run` of the same cell. Each candidate's text is tokenized again and scored by its teacher
on a server of our own, and by transformers in bf16 as the control. Differences are of the mean
log-probability (nats) per token. Candidates whose text has another number of tokens when it is
tokenized again are left out, and counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import plan
from faq_pipeline.models.loading import load_model, load_tokenizer
from faq_pipeline.regeneration.corpus import teacher_engine
from faq_pipeline.settings import Settings
from faq_pipeline.store.records import Candidate
from faq_pipeline.store.tables import read_rows

Item = tuple[list[int], list[int]]


def main() -> None:
    """Measure, print and write."""
    options = _options()
    settings = Settings.from_environment()
    recipe = settings.catalog.recipe(options.recipe)
    cell = resolve_cell(settings.catalog, options.member, recipe, settings.device, settings.digests)
    corpus = plan(cell, STAGES, settings.store)["regenerated_corpus"].artifact
    if corpus is None:
        raise FaqError("no regenerated_corpus of this cell", hint=f"faq run --recipe {recipe.name}")
    candidates = read_rows(corpus.file("candidates.parquet"), Candidate)
    items, recorded = _items(cell, candidates)
    engine: Any = teacher_engine(cell)
    with engine:
        served = engine.likelihoods(items, lambda _: None)
    control = _with_transformers(cell, items)
    result = {
        "engine": engine.identity(),
        "candidates": len(candidates),
        "scored": len(items),
        "tokens": sum(len(reply) for _, reply in items),
        "vllm scoring - recorded": _differences(served, recorded),
        "transformers scoring - recorded": _differences(control, recorded),
        "vllm scoring - transformers scoring": _differences(served, control),
        "corpus": corpus.metadata,
    }
    for name, value in result.items():
        if name not in ("engine", "corpus"):
            print(f"{name}: {value}")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")


def _items(cell: Cell, candidates: Sequence[Candidate]) -> tuple[list[Item], list[float]]:
    """Prompts and replies in the teacher's tokens, and the recorded mean log-probability of each."""
    assert cell.teacher is not None
    tokenizer = load_tokenizer(cell.teacher)
    items, recorded = [], []
    for candidate in candidates:
        ends = [tokenizer.eos_token_id] if candidate.finish == "stop" else []
        prompt, reply = (
            list(tokenizer(text, add_special_tokens=False)["input_ids"])
            for text in (candidate.prompt, candidate.text)
        )
        # One more token is sampled when a text is scored.
        fits = len(prompt) + len(reply) + len(ends) < cell.teacher.context
        if candidate.logprob is not None and len(reply) + len(ends) == candidate.tokens and fits:
            items.append((prompt, reply + ends))
            recorded.append(candidate.logprob / candidate.tokens)
    return items, recorded


def _with_transformers(cell: Cell, items: Sequence[Item]) -> list[float]:
    from faq_pipeline.models.likelihood import Scored, mean_logprobs

    assert cell.teacher is not None
    model = load_model(cell.teacher, cell.device)
    return mean_logprobs(model, [Scored(prompt, reply) for prompt, reply in items], lambda _: None)


def _differences(some: Sequence[float | None], others: Sequence[float]) -> dict[str, float]:
    apart = [abs(one - other) for one, other in zip(some, others, strict=True) if one is not None]
    return {"mean": statistics.fmean(apart), "max": max(apart), "scored": len(apart)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--member", default="kin-4m")
    parser.add_argument("--recipe", default="faq-gptq-w4a16-vllm")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
