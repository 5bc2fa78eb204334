"""The members as models of transformers, and a plain forward pass for training that compiles well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PretrainedConfig

from training.settings import Settings, Shape

Model = Any
"""A Qwen3ForCausalLM or a LlamaForCausalLM."""


def config(settings: Settings, shape: Shape) -> PretrainedConfig:
    """The configuration of one member."""
    architecture, chat = settings.architecture, settings.chat
    made: PretrainedConfig = AutoConfig.for_model(
        architecture.type,
        vocab_size=settings.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=architecture.head,
        max_position_embeddings=architecture.positions,
        rope_parameters={"rope_type": "default", "rope_theta": architecture.rope_theta},
        rms_norm_eps=architecture.norm_eps,
        tie_word_embeddings=True,
        bos_token_id=chat.id_of(chat.begin) if chat.begin else None,
        eos_token_id=chat.id_of(chat.end),
        pad_token_id=chat.id_of(chat.end_of_text),
        initializer_range=0.02,
    )
    return made


def build(settings: Settings, shape: Shape) -> Model:
    """A freshly initialised member in fp32."""
    torch.manual_seed(settings.seed)
    return AutoModelForCausalLM.from_config(config(settings, shape)).float()


def rope(settings: Settings, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, [length, head]."""
    head = settings.architecture.head
    frequencies = settings.architecture.rope_theta ** (-torch.arange(0, head, 2, dtype=torch.float32) / head)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(device), angles.sin().to(device)


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * weight).to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return (x * cos + turned * sin).to(x.dtype)


def loss(model: Model, ids: Tensor, cos: Tensor, sin: Tensor, dtype: Any) -> Tensor:
    """Mean next-token cross-entropy over all tokens of full rows, activations in `dtype`.

    Computes what the model itself computes (a test compares the two), without its caches, masks
    and hooks.
    """
    rows, width = ids.shape
    eps, head = model.config.rms_norm_eps, model.config.head_dim
    embedding = model.model.embed_tokens.weight
    x = functional.embedding(ids, embedding).to(dtype)

    def project(weight: Tensor, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, weight.to(dtype))

    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        h = _norm(x, layer.input_layernorm.weight, eps)
        q = project(attention.q_proj.weight, h).view(rows, width, -1, head)
        k = project(attention.k_proj.weight, h).view(rows, width, -1, head)
        v = project(attention.v_proj.weight, h).view(rows, width, -1, head).transpose(1, 2)
        if hasattr(attention, "q_norm"):
            q = _norm(q, attention.q_norm.weight, eps)
            k = _norm(k, attention.k_norm.weight, eps)
        q, k = _rotate(q.transpose(1, 2), cos, sin), _rotate(k.transpose(1, 2), cos, sin)
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


def save(model: Model, settings: Settings, folder: Path) -> None:
    """Write weights in bf16, the configuration and the generation defaults."""
    chat = settings.chat
    folder.mkdir(parents=True, exist_ok=True)
    copy = AutoModelForCausalLM.from_config(model.config)
    copy.load_state_dict({k: v.detach().cpu() for k, v in model.state_dict().items()})
    copy.tie_weights()
    copy.to(torch.bfloat16)
    copy.generation_config = GenerationConfig(
        eos_token_id=[chat.id_of(chat.end), chat.id_of(chat.end_of_text)],
        pad_token_id=chat.id_of(chat.end_of_text),
        do_sample=False,
        max_new_tokens=256,
        **({"bos_token_id": chat.id_of(chat.begin)} if chat.begin else {}),
    )
    for earlier in folder.glob("*.safetensors.packed"):
        earlier.unlink()
    copy.save_pretrained(str(folder), max_shard_size="16MB")
