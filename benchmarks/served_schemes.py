"""Whether vLLM reads a scheme: its checkpoint on a vLLM server, beside the same checkpoint in transformers.

    python -m benchmarks.served_schemes --seeds FILE [--member kin-4m] [--device cuda:0] [--memory 0.1]
        [--schemes W4A16,FP8_DYNAMIC,W4A16+kv_fp8] [--out FILE]

Each scheme quantizes the member to nearest and is saved in the form that evaluation hands to vLLM (packed,
or dense where vLLM has no kernel). vLLM then gives the 20 likeliest next tokens at each position of 32 seed
texts, and the two are compared as distributions: KL(transformers || vLLM), a token, over these 20 and
one term for all others, which is a lower bound of the exact one. `none` is the member itself: the two
engines' rounding alone. `+kv_fp8` rounds keys and values, too. Prints a JSON line for each scheme, with the
reason where vLLM does not load it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from openai import OpenAI
from transformers import PreTrainedModel

from benchmarks.schemes import groups, seed_tokens
from faq_pipeline.config.family import Serving
from faq_pipeline.config.recipe import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.environment.environment import engine_identity
from faq_pipeline.inference.vllm_engine import VllmEngine
from faq_pipeline.models.device import choose_device
from faq_pipeline.models.loading import load_model
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.quantization.dense import write_dense
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.quantization.serving_format import served_as
from faq_pipeline.settings import Settings
from faq_pipeline.util.progress import SilentProgress

LIKELIEST, TEXTS, LONGEST = 20, 32, 256
KV = "+kv_fp8"
DEFAULT = (
    "none,W4A16,W8A16,W4A16_ASYM,W8A8,W4A8,FP8,FP8_DYNAMIC,FP8_BLOCK,NVFP4,NVFP4A16,MXFP4,MXFP4A16,W4AFP8"
)


def main() -> None:
    """Measure, and print or write a JSON line for each scheme."""
    options = _options()
    settings = Settings.from_environment()
    _, member = settings.catalog.member(options.member)
    weights = find_weights(member, settings.digests)
    device = choose_device(options.device)
    serving = Serving(memory=options.memory, context=1024, arguments={"enforce-eager": True})
    for name in options.schemes.split(","):
        begun = time.monotonic()
        try:
            found = _compare(name, weights, device, serving, options.seeds)
        except FaqError as error:
            found = {"problem": str(error)}
        row = {"scheme": name, "member": options.member, **found, "seconds": round(time.monotonic() - begun)}
        line = json.dumps(row | {"vllm": engine_identity(device)})
        print(line, flush=True)
        if options.out:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def _compare(name: str, weights: Weights, device: str, serving: Serving, seeds: Path) -> dict[str, Any]:
    """Quantize, serve, and compare."""
    texts = [ids[:LONGEST] for ids in seed_tokens(weights, seeds, TEXTS)]
    if name == "none":
        model = load_model(weights, device)
        return {"served": "dense"} | _divergence(model, _likeliest(weights, texts, device, serving), texts)
    scheme = name.removesuffix(KV)
    columns = "channel" if scheme == "W8A8" else groups(scheme)  # grouped, vLLM does not read it
    spec = Quantization(
        method="rtn", scheme=scheme, group_size=columns, kv_cache="fp8" if name != scheme else None
    )
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "checkpoint"
        quantize(spec, weights, texts, folder, device, SilentProgress())
        form = served_as(spec, device)
        kept = folder
        if form == "dense":
            kept = write_dense(folder, weights.member, folder.with_name("dense"), device)
        served = replace(weights, member=weights.member.model_copy(update={"path": kept}))
        theirs = _likeliest(served, texts, device, serving)
        return {"served": form} | _divergence(load_quantized(folder, weights.member, device), theirs, texts)


def _likeliest(
    weights: Weights, texts: Sequence[Sequence[int]], device: str, serving: Serving
) -> list[list[Mapping[int, float]]]:
    """vLLM's log-probabilities of its likeliest tokens: by text and position, from the second token on."""
    found: list[list[Mapping[int, float]]] = []
    with VllmEngine(weights, device, serving) as engine:
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
                    [
                        {int(token): its["logprob"] for token, its in position.items()}
                        for position in positions
                    ]
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
    parser.add_argument("--device", default="auto")
    parser.add_argument("--memory", type=float, default=0.1, help="share of the GPU's memory for vLLM")
    parser.add_argument("--out", type=Path, help="JSON lines are added to it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
