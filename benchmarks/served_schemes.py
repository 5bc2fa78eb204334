"""Whether vLLM reads a scheme: its checkpoint on a vLLM server, beside the same checkpoint in transformers.

    python -m benchmarks.served_schemes --seeds FILE [--member kin-4m] [--device cuda:0] [--memory 0.1]
        [--schemes W4A16,FP8_DYNAMIC,W4A16+kv_fp8,W4A16+down_8] [--recipe RECIPE] [--out FILE]

Each scheme quantizes the member to nearest and is saved in the form that evaluation hands to vLLM (packed,
or dense where vLLM has no kernel). vLLM then gives the 20 likeliest next tokens at each position of 32 seed
texts, and the two are compared as distributions: KL(transformers || vLLM), a token, over these 20 and
one term for all others, which is a lower bound of the exact one. `none` is the member itself: the two
engines' rounding alone. `+kv_fp8` rounds keys and values, too; `+down_8` gives layers called down_proj
8 bits, so that a checkpoint has two widths. With `--recipe` both engines also answer the
recipe's evaluation questions, and their accuracies are compared question by question. Prints a JSON line for
each scheme, with the reason where vLLM does not load it; and to stderr a line after each phase, with the
seconds since the scheme was begun, so that a run which is cut short tells how far it came.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from openai import OpenAI
from transformers import PreTrainedModel

from benchmarks.schemes import groups, seed_tokens
from faq_pipeline.config.family import Serving, Thinking
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.config.recipe import Evaluation
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.harness import Answered, answer_questions, run_tasks
from faq_pipeline.evaluation.paired import compare_paired
from faq_pipeline.evaluation.served_lm import ServedLM
from faq_pipeline.inference.environment.environment import engine_identity
from faq_pipeline.inference.vllm_engine import VllmEngine
from faq_pipeline.models.device import choose_device
from faq_pipeline.models.loading import load_model, load_tokenizer
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.quantization.dense import write_dense
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.quantization.serving_format import served_as
from faq_pipeline.settings import Settings
from faq_pipeline.util.progress import SilentProgress

LIKELIEST, TEXTS, LONGEST = 20, 32, 256
CACHE = 8 << 30
"""vLLM's cache in bytes. With a fixed one vLLM does not fail when other processes free memory meanwhile."""
KV, DOWN = "+kv_fp8", "+down_8"
DEFAULT = (
    "none,W4A16,W8A16,W4A16_ASYM,W8A8,W4A8,FP8,FP8_DYNAMIC,FP8_BLOCK,NVFP4,NVFP4A16,MXFP4,MXFP4A16,W4AFP8"
)


@dataclass(frozen=True)
class Comparison:
    """What both engines are given.

    Attributes:
        texts: token ids of the texts whose next tokens are compared.
        questions: the recipe's evaluation; None: no questions are asked.
        thinking: the family's reasoning marks.
    """

    weights: Weights
    device: str
    serving: Serving
    texts: list[list[int]]
    questions: Evaluation | None
    thinking: Thinking


@dataclass(frozen=True)
class Phases:
    """Tells on stderr what is done of a scheme, and after how many seconds."""

    scheme: str
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the scheme was begun."""
        return time.monotonic() - self.begun

    def done(self, phase: str) -> None:
        """A phase has ended."""
        print(f"{self.scheme}: {phase}: {self.seconds:.1f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and print or write a JSON line for each scheme."""
    options = _options()
    settings = Settings.from_environment()
    family, member = settings.catalog.member(options.member)
    weights = find_weights(member, settings.digests)
    device = choose_device(options.device)
    arguments: dict[str, Any] = {"enforce-eager": True}
    if device != "cpu":
        arguments["kv-cache-memory-bytes"] = CACHE
    comparison = Comparison(
        weights=weights,
        device=device,
        serving=Serving(memory=options.memory, context=1024, arguments=arguments),
        texts=[list(ids[:LONGEST]) for ids in seed_tokens(weights, options.seeds, TEXTS)],
        questions=settings.catalog.recipe(options.recipe).evaluation if options.recipe else None,
        thinking=family.thinking,
    )
    for name in options.schemes.split(","):
        phases = Phases(name)
        try:
            found = _compare(name, comparison, phases)
        except FaqError as error:
            found = {"problem": str(error)}
        row = {"scheme": name, "member": options.member, **found, "seconds": round(phases.seconds)}
        line = json.dumps(row | {"vllm": engine_identity(device)})
        print(line, flush=True)
        if options.out:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def _compare(name: str, comparison: Comparison, phases: Phases) -> dict[str, Any]:
    """Quantize, serve, and compare."""
    weights, device = comparison.weights, comparison.device
    if name == "none":
        model = load_model(weights, device)
        phases.done("loaded in transformers")
        return {"served": "dense"} | _engines(comparison, weights, model, phases)
    scheme = name.removesuffix(KV).removesuffix(DOWN)
    columns = "channel" if scheme == "W8A8" else groups(scheme)  # grouped, vLLM does not read it
    spec = Quantization(
        method="rtn",
        scheme=scheme,
        group_size=columns,
        kv_cache="fp8" if name.endswith(KV) else None,
        layer_bits={"re:.*down_proj": 8} if name.endswith(DOWN) else None,
    )
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "checkpoint"
        quantize(spec, weights, comparison.texts, folder, device, SilentProgress())
        phases.done("quantized")
        form = served_as(spec, device)
        kept = folder
        if form == "dense":
            kept = write_dense(folder, weights.member, folder.with_name("dense"), device)
            phases.done("written dense")
        served = replace(weights, member=weights.member.model_copy(update={"path": kept}))
        model = load_quantized(folder, weights.member, device)
        phases.done("loaded in transformers")
        return {"served": form} | _engines(comparison, served, model, phases)


def _engines(
    comparison: Comparison, served: Weights, model: PreTrainedModel, phases: Phases
) -> dict[str, Any]:
    """The same weights in vLLM (`served`) and in transformers (`model`)."""
    tokenizer, questions = load_tokenizer(comparison.weights), comparison.questions
    theirs: list[Answered] = []
    with VllmEngine(served, comparison.device, comparison.serving) as engine:
        phases.done("vLLM ready")
        likeliest = _likeliest(engine, comparison.texts)
        phases.done("vLLM's likeliest tokens")
        if questions is not None:
            lm = ServedLM(engine, tokenizer, comparison.thinking, SilentProgress())
            theirs = run_tasks(lambda: nullcontext(lm), questions)
            phases.done("vLLM's answers")
    found = _divergence(model, likeliest, comparison.texts)
    phases.done("divergence from transformers")
    if questions is None:
        return found
    ours = answer_questions(model, tokenizer, questions, comparison.thinking, SilentProgress())
    phases.done("answers in transformers")
    both = compare_paired([given.answer for given in ours], [given.answer for given in theirs])
    return found | {
        "questions": both.questions,
        "transformers": both.reference.as_dict(),
        "vllm answers": both.quantized.as_dict(),
        "transformers above vllm": both.loss.as_dict(),
        "mcnemar p": both.mcnemar_p,
    }


def _likeliest(engine: VllmEngine, texts: Sequence[Sequence[int]]) -> list[list[Mapping[int, float]]]:
    """vLLM's log-probabilities of its likeliest tokens: by text and position, from the second token on."""
    found: list[list[Mapping[int, float]]] = []
    server = engine.server
    with OpenAI(base_url=server.base_url, api_key=server.key) as client:
        for ids in texts:
            answer: Any = client.completions.create(
                model=server.name,
                prompt=list(ids),
                max_tokens=1,
                extra_body={"prompt_logprobs": LIKELIEST},
            )
            positions = answer.choices[0].prompt_logprobs[1:]
            found.append(
                [{int(token): its["logprob"] for token, its in position.items()} for position in positions]
            )
    return found


def _divergence(
    model: PreTrainedModel,
    served: Sequence[Sequence[Mapping[int, float]]],
    texts: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """KL(transformers || vLLM), a token, and how often the likeliest token is the same."""
    total, same, tokens = 0.0, 0, 0
    for ids, positions in zip(texts, served, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([list(ids)], device=model.device)).logits[0, :-1].float()
        for row, theirs in zip(torch.log_softmax(logits, -1).double().cpu(), positions, strict=True):
            ours = row[list(theirs)]
            q = torch.tensor(list(theirs.values()), dtype=torch.float64)
            total += float((ours.exp() * (ours - q)).sum() + _tail(ours, q))
            same += int(row.argmax()) == max(theirs, key=theirs.__getitem__)
            tokens += 1
    return {"kl": total / tokens, "same likeliest": same / tokens, "tokens": tokens}


def _tail(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The term of all other tokens."""
    least = 1e-9
    p, q = (max(1 - float(known.exp().sum()), least) for known in (ours, theirs))
    return p * (torch.tensor(p).log() - torch.tensor(q).log()).item()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--member", default="kin-4m")
    parser.add_argument("--schemes", default=DEFAULT, help="comma-separated")
    parser.add_argument("--seeds", type=Path, required=True, help="JSONL with `text`")
    parser.add_argument("--recipe", help="both engines answer this recipe's evaluation questions")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--memory", type=float, default=0.1, help="share of the GPU's memory for vLLM")
    parser.add_argument("--out", type=Path, help="JSON lines are added to it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
