"""The members as Qwen3 models, and a plain forward pass for training that compiles well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from training.settings import Shape

HEAD = 64
THETA = 10_000.0
END_OF_TEXT_ID, END_ID = 0, 2


def config(shape: Shape, vocabulary: int) -> Qwen3Config:
    """The Qwen3 configuration of one member."""
    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=HEAD,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=END_ID,
        pad_token_id=END_OF_TEXT_ID,
        initializer_range=0.02,
    )


def build(shape: Shape, vocabulary: int, seed: int) -> Qwen3ForCausalLM:
    """A freshly initialised member in fp32."""
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(config(shape, vocabulary)).float()


def rope(length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, [length, HEAD]."""
    frequencies = THETA ** (-torch.arange(0, HEAD, 2, dtype=torch.float32) / HEAD)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(device), angles.sin().to(device)


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * weight).to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = HEAD // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return (x * cos + turned * sin).to(x.dtype)


def loss(model: Qwen3ForCausalLM, ids: Tensor, cos: Tensor, sin: Tensor, dtype: Any) -> Tensor:
    """Mean next-token cross-entropy over all tokens of full rows, activations in `dtype`.

    Computes what Qwen3ForCausalLM computes (a test compares the two), without its caches,
    masks and hooks.
    """
    rows, width = ids.shape
    eps = model.config.rms_norm_eps
    embedding = model.model.embed_tokens.weight
    x = functional.embedding(ids, embedding).to(dtype)

    def project(weight: Tensor, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, weight.to(dtype))

    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        h = _norm(x, layer.input_layernorm.weight, eps)
        q = project(attention.q_proj.weight, h).view(rows, width, -1, HEAD)
        k = project(attention.k_proj.weight, h).view(rows, width, -1, HEAD)
        v = project(attention.v_proj.weight, h).view(rows, width, -1, HEAD).transpose(1, 2)
        q = _rotate(_norm(q, attention.q_norm.weight, eps).transpose(1, 2), cos, sin)
        k = _rotate(_norm(k, attention.k_norm.weight, eps).transpose(1, 2), cos, sin)
        groups = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + project(attention.o_proj.weight, mixed.transpose(1, 2).reshape(rows, width, -1))
        h = _norm(x, layer.post_attention_layernorm.weight, eps)
        gate = functional.silu(project(mlp.gate_proj.weight, h)) * project(mlp.up_proj.weight, h)
        x = x + project(mlp.down_proj.weight, gate)
    x = _norm(x, model.model.norm.weight, eps)
    logits = project(embedding, x)[:, :-1].float()
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))


def save(model: Qwen3ForCausalLM, folder: Path) -> None:
    """Write weights in bf16, the configuration and the generation defaults."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = Qwen3ForCausalLM(model.config)
    copy.load_state_dict({k: v.detach().cpu() for k, v in model.state_dict().items()})
    copy.tie_weights()
    copy.to(torch.bfloat16)  # type: ignore[arg-type]
    copy.generation_config = GenerationConfig(
        eos_token_id=[END_ID, END_OF_TEXT_ID],
        pad_token_id=END_OF_TEXT_ID,
        do_sample=False,
        max_new_tokens=256,
    )
    copy.save_pretrained(str(folder), max_shard_size="16MB")
