from __future__ import annotations

import torch

from faq_pipeline.activations.routing import routed_tokens, routing_figures, routing_rows
from faq_pipeline.store.records import RoutedTokens
from tests.cases.architectures import FAMILIES


def test_every_token_counts_once_for_each_expert_that_it_is_sent_to() -> None:
    torch.manual_seed(0)
    model = FAMILIES["Mixtral"].build()
    router = model.get_submodule("model.layers.1.mlp.gate")
    chosen: list[torch.Tensor] = []
    router.register_forward_hook(lambda module, args, output: chosen.append(output[2].clone()))
    with routed_tokens(model) as counts:
        for length in (5, 7):
            model(torch.arange(length)[None])
    model(torch.arange(9)[None])  # after the context nothing is counted
    rows = routing_rows(counts)
    assert [row.layer for row in rows] == [0] * 4 + [1] * 4
    assert sum(row.tokens for row in rows) == 2 * 2 * (5 + 7)  # two layers, two experts a token
    sent = torch.cat(chosen[:2]).reshape(-1)
    assert [row.tokens for row in rows[4:]] == [int((sent == expert).sum()) for expert in range(4)]


def test_a_plain_decoder_has_no_experts() -> None:
    with routed_tokens(FAMILIES["Llama"].build()) as counts:
        pass
    assert routing_rows(counts) == []


def test_figures_tell_idle_experts() -> None:
    rows = [RoutedTokens("layers.0.experts", 0, expert, tokens) for expert, tokens in enumerate([0, 3, 8, 0])]
    assert routing_figures(rows) == {"experts": 4, "idle": 2, "least": 0, "median": 1.5}
