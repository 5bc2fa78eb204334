"""The experts as one would write them at first: one sample at a time, nothing shared.

Hooks on every linear layer, the whole model with its head and cache, figures of a sample worked out
before the next is looked at. They say what the experts of `faq_pipeline.competition` say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import kl_div, log_softmax

Model = Any
Ids = Sequence[int]
Squares = dict[str, torch.Tensor]

DEVIATIONS = 3.0


@torch.no_grad()
def moments(model: Model, ids: Ids) -> Squares:
    """E[x^2] of every linear layer's input channels on one sample."""
    found: Squares = {}

    def hook(name: str) -> Callable[[torch.nn.Module, Any, Any], None]:
        def record(module: torch.nn.Module, args: Any, output: Any) -> None:
            found[name] = args[0].float().pow(2).mean(dim=(0, 1))

        return record

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    ]
    model(torch.tensor([ids], device=model.device))
    for handle in handles:
        handle.remove()
    return found


def reference(model: Model, traces: Sequence[Ids]) -> Squares:
    """E[x^2] over all tokens of the traces."""
    total: Squares = {}
    for ids in traces:
        for name, mean in moments(model, ids).items():
            total[name] = total.get(name, 0) + mean * len(ids)
    tokens = sum(map(len, traces))
    return {name: squares / tokens for name, squares in total.items()}


def activation_fidelity(model: Model, samples: Sequence[Ids], traces: Sequence[Ids]) -> list[float]:
    """Minus the mean squared log-ratio, layer by layer."""
    wanted = reference(model, traces)
    scores = []
    for ids in samples:
        layers = []
        for name, own in moments(model, ids).items():
            floor = 1e-8 * wanted[name].mean()
            layers.append(float(((own + floor) / (wanted[name] + floor)).log().pow(2).mean()))
        scores.append(-sum(layers) / len(layers))
    return scores


def outlier_coverage(model: Model, samples: Sequence[Ids], traces: Sequence[Ids]) -> list[float]:
    """Weight of the outliers that a sample excites, layer by layer."""
    wanted = reference(model, traces)
    weights = {}
    for name, means in wanted.items():
        above = means.log() - means.log().median()
        weights[name] = torch.where(above > DEVIATIONS * 1.4826 * above.abs().median(), above, 0)
    total = sum(float(weight.sum()) for weight in weights.values())
    scores = []
    for ids in samples:
        own = moments(model, ids)
        scores.append(sum(float(weights[n][own[n] >= wanted[n]].sum()) for n in wanted) / total)
    return scores


@torch.no_grad()
def sensitivity(model: Model, rounded: Model, samples: Sequence[Ids]) -> list[float]:
    """Mean KL per token between the model and its rounded copy."""
    scores = []
    for ids in samples:
        tensor = torch.tensor([ids], device=model.device)
        p, q = (log_softmax(m(tensor).logits[0].float(), dim=-1) for m in (model, rounded))
        scores.append(float(kl_div(q, p, reduction="none", log_target=True).sum(-1).mean()))
    return scores


@torch.no_grad()
def target_likelihood(model: Model, items: Sequence[tuple[Ids, Ids]]) -> list[float]:
    """Mean log-probability of a reply's tokens after its prompt."""
    scores = []
    for prompt, reply in items:
        tensor = torch.tensor([[*prompt, *reply]], device=model.device)
        logprobs = log_softmax(model(tensor).logits[0].float(), dim=-1)
        wanted = torch.tensor(list(reply), device=model.device).unsqueeze(1)
        scores.append(float(logprobs[len(prompt) - 1 : -1].gather(1, wanted).mean()))
    return scores
