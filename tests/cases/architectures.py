"""Random models of architectures that differ from a plain decoder of linear layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny import make_tokenizer

COMMON: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_attention_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ONE_KEY_HEAD: dict[str, Any] = {"num_key_value_heads": 1, "intermediate_size": 128, "num_hidden_layers": 2}


def short_convolutions() -> Any:
    """Lfm2: a layer of short convolutions and one of attention."""
    from transformers import Lfm2Config, Lfm2ForCausalLM

    return Lfm2ForCausalLM(Lfm2Config(**COMMON, **ONE_KEY_HEAD, layer_types=["conv", "full_attention"]))


def routed_experts() -> Any:
    """Qwen3-MoE: experts behind a router that is a bare parameter."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    experts = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**COMMON, **ONE_KEY_HEAD, head_dim=32, decoder_sparse_step=1, **experts)
    )


def renamed_experts() -> Any:
    """Mixtral: its experts have other names on disk than in memory."""
    from transformers import MixtralConfig, MixtralForCausalLM

    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    return MixtralForCausalLM(MixtralConfig(**COMMON, **{**ONE_KEY_HEAD, "intermediate_size": 64}, **experts))


def transposed_layers() -> Any:
    """GPT-2: its layers are `Conv1D`, which no quantizer of linear layers matches."""
    from transformers import GPT2Config, GPT2LMHeadModel

    marks = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=512, n_positions=256, n_embd=64, n_layer=2, n_head=2, **marks)
    )


def vision_tower(context: int = 512) -> Any:
    """Gemma-3: a language model of this context inside a wrapper, beside a vision tower."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        **COMMON,
        **ONE_KEY_HEAD,
        "max_position_embeddings": context,
        "head_dim": 32,
        "sliding_window": 16,
        "query_pre_attn_scalar": 32,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    tokens = {"boi_token_index": 500, "eoi_token_index": 501, "image_token_index": 502}
    marks = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, **tokens, **marks)
    )


def save_random(build: Callable[[], Any], folder: Path) -> Path:
    """The model with random weights in bfloat16 and a tokenizer, saved in `folder`."""
    import torch

    make_tokenizer(folder)
    torch.manual_seed(2)
    build().to(torch.bfloat16).save_pretrained(folder)
    return folder
