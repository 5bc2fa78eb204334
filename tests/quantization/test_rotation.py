"""A rotated model is the same function, and rounding its activations costs less where channels stand out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from faq_pipeline.core.cell import Cell
from faq_pipeline.models.loading import load_model
from faq_pipeline.quantization.rotation import rotate
from faq_pipeline.quantization.spec_check import check_spec
from faq_pipeline.settings import REPOSITORY
from tests.quantization.conftest import make_rows, make_spec
from tests.quantization.test_check import refusal, weights_of

KINDS: list[tuple[Any, Any, bool]] = [
    (LlamaForCausalLM, LlamaConfig, False),
    (MistralForCausalLM, MistralConfig, False),
    (Qwen2ForCausalLM, Qwen2Config, True),  # with biases of queries, keys and values
    (Qwen3ForCausalLM, Qwen3Config, True),  # with norms of queries and keys
]
"""Model, configuration, and whether the head is tied to the embedding."""


def made(kind: Any, config: Any, tied: bool) -> PreTrainedModel:
    """Random, norm weights and biases too; 96 = 12 x 8 is no power of two."""
    sizes = {"vocab_size": 300, "hidden_size": 96, "intermediate_size": 80, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24}
    torch.manual_seed(3)
    model: PreTrainedModel = kind(config(**sizes, **heads, tie_word_embeddings=tied)).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, 1.0, 0.3)
    return model


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor(make_rows(2))).logits.float()


def divergence(model: PreTrainedModel, other: PreTrainedModel) -> float:
    """KL per token in nats."""
    mine, its = logits(model).log_softmax(-1), logits(other).log_softmax(-1)
    return float((mine.exp() * (mine - its)).sum(-1).mean())


@pytest.mark.parametrize(
    ("kind", "config", "tied"), KINDS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_rotated_model_is_the_same_function(kind: Any, config: Any, tied: bool) -> None:
    plain, rotated, again = (made(kind, config, tied) for _ in range(3))
    rotate(rotated)
    rotate(again)
    assert divergence(plain, rotated) < 1e-6
    torch.testing.assert_close(logits(rotated), logits(plain), atol=1e-4, rtol=1e-3)
    changed = rotated.state_dict()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in changed.items())
    assert not torch.equal(
        changed["model.embed_tokens.weight"], plain.state_dict()["model.embed_tokens.weight"]
    )
    assert not torch.equal(changed["model.embed_tokens.weight"], changed["lm_head.weight"])
    norms = [
        value for name, value in changed.items() if name.endswith(("layernorm.weight", "model.norm.weight"))
    ]
    assert len(norms) == 5 and all(bool((value == 1).all()) for value in norms)


def test_in_bf16_a_rotated_member_is_the_same_up_to_rounding() -> None:
    """What docs/METHODS.md says of the weights' rounding, on a trained member."""
    from transformers import AutoModelForCausalLM

    folder = REPOSITORY / "data/models/kin-4m"
    plain, rotated = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16) for _ in range(2))
    rotate(rotated)
    assert divergence(plain.float(), rotated.float()) < 1e-3


def test_rounded_activations_cost_less_where_a_channel_stands_out(tiny_cell: Cell) -> None:
    """The norm's channel is made large and the columns that read it small: the same function."""
    from faq_pipeline.quantization.oneshot import run
    from faq_pipeline.util.progress import SilentProgress

    def planted(model: PreTrainedModel) -> PreTrainedModel:
        with torch.no_grad():
            for layer in model.model.layers:
                attention, mlp = layer.self_attn, layer.mlp
                for norm, readers in (
                    (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                    (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
                ):
                    norm.weight[5] *= 64
                    for reader in readers:
                        reader.weight[:, 5] /= 64
        return model

    reference = load_model(tiny_cell.target, "cpu")
    expected = logits(reference)
    torch.testing.assert_close(
        logits(planted(load_model(tiny_cell.target, "cpu"))), expected, atol=0.05, rtol=0.05
    )
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "faq_pipeline.quantization.oneshot.load_folder",
            lambda *args, **kwargs: planted(load_model(tiny_cell.target, "cpu")),
        )
        for turned in (False, True):
            spec = make_spec("rtn", "W4A4", "channel", rotate=turned)
            found[turned] = divergence(
                reference, run(spec, tiny_cell.target, [], "cpu", SilentProgress()).model
            )
    assert found[True] < 0.5 * found[False]


def test_what_cannot_be_rotated_is_refused(tmp_path: Path, tiny_cell: Cell) -> None:
    spec = make_spec("rtn", "W4A4", rotate=True)
    assert refusal(spec, tiny_cell.target) == ""
    assert "no Hadamard matrix of size 46" in refusal(spec, weights_of(tmp_path / "odd", hidden=46))
    other = weights_of(tmp_path / "other", model_type="gemma2")
    assert "is a 'gemma2' model, and rotation is tested for llama, mistral, qwen2, qwen3" in refusal(
        spec, other
    )
    planned = make_spec("gptq", rotate=True, plan={"average_bits": 4})
    assert "a bit plan measures layers in the model as it is" in refusal(planned, tiny_cell.target)
    ranks = make_spec("gptq", rotate=True, ranks=2)
    assert "not tested with several ranks" in refusal(ranks, tiny_cell.target)
    check_spec(make_spec("gptq", rotate=True, layer_bits={"re:.*o_proj": 4}), tiny_cell.target)
