"""Small random models of many architectures, each as its published members are built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tiny import make_tokenizer

MARKS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
COMMON: dict[str, Any] = {
    **MARKS,
    "vocab_size": 512,
    "hidden_size": 64,
    "num_attention_heads": 2,
    "max_position_embeddings": 512,
}
ONE_KEY_HEAD: dict[str, Any] = {"num_key_value_heads": 1, "intermediate_size": 128, "num_hidden_layers": 2}
FOUR_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_experts": 4}
LOCAL_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "num_local_experts": 4}


@dataclass(frozen=True)
class Family:
    """An architecture of transformers.

    Attributes:
        name: as people call it.
        prefix: of its classes' names.
        fields: of its configuration.
        model: the model's class, where it is not `<prefix>ForCausalLM`.
    """

    name: str
    prefix: str
    fields: dict[str, Any]
    model: str = ""

    def build(self) -> Any:
        """The model in float32, with weights of torch's generator."""
        import transformers

        config = getattr(transformers, f"{self.prefix}Config")(**self.fields)
        return getattr(transformers, self.model or f"{self.prefix}ForCausalLM")(config)


GEMMA3_TEXT = {**COMMON, **ONE_KEY_HEAD, "head_dim": 32, "sliding_window": 16, "query_pre_attn_scalar": 32}

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("Llama", "Llama", {**COMMON, **ONE_KEY_HEAD}),
        Family("Mistral", "Mistral", {**COMMON, **ONE_KEY_HEAD, "head_dim": 32, "sliding_window": 16}),
        Family("Qwen2", "Qwen2", {**COMMON, **ONE_KEY_HEAD}),
        Family("Qwen3", "Qwen3", {**COMMON, **ONE_KEY_HEAD, "head_dim": 32}),
        Family("Gemma-2", "Gemma2", {**COMMON, **ONE_KEY_HEAD, "head_dim": 32, "sliding_window": 16}),
        Family("Gemma-3 text", "Gemma3Text", GEMMA3_TEXT, model="Gemma3ForCausalLM"),
        Family(
            "Gemma-3 with vision",
            "Gemma3",
            {
                **MARKS,
                "text_config": GEMMA3_TEXT,
                "vision_config": {
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "image_size": 28,
                    "patch_size": 14,
                },
                "mm_tokens_per_image": 4,
                "boi_token_index": 500,
                "eoi_token_index": 501,
                "image_token_index": 502,
            },
            model="Gemma3ForConditionalGeneration",
        ),
        Family("Phi-3", "Phi3", {**COMMON, **ONE_KEY_HEAD}),
        Family("Cohere", "Cohere", {**COMMON, **ONE_KEY_HEAD}),
        Family("OPT", "OPT", {**COMMON, "ffn_dim": 128, "num_hidden_layers": 2, "word_embed_proj_dim": 64}),
        Family("GPT-NeoX", "GPTNeoX", {**COMMON, "intermediate_size": 128, "num_hidden_layers": 2}),
        Family("Bloom", "Bloom", {**MARKS, "vocab_size": 512, "hidden_size": 64, "n_layer": 2, "n_head": 2}),
        Family(
            "GPT-2",
            "GPT2",
            {**MARKS, "vocab_size": 512, "n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 2},
            model="GPT2LMHeadModel",
        ),
        Family(
            "Qwen3-MoE",
            "Qwen3Moe",
            {**COMMON, **ONE_KEY_HEAD, **FOUR_EXPERTS, "head_dim": 32, "decoder_sparse_step": 1},
        ),
        Family("Mixtral", "Mixtral", {**COMMON, **ONE_KEY_HEAD, **LOCAL_EXPERTS, "intermediate_size": 64}),
        Family(
            "gpt-oss",
            "GptOss",
            {
                **COMMON,
                **ONE_KEY_HEAD,
                **LOCAL_EXPERTS,
                "head_dim": 32,
                "intermediate_size": 64,
                "sliding_window": 16,
            },
        ),
        Family("LFM2", "Lfm2", {**COMMON, **ONE_KEY_HEAD, "layer_types": ["conv", "full_attention"]}),
        Family(
            "Falcon-H1",
            "FalconH1",
            {
                **COMMON,
                **ONE_KEY_HEAD,
                "head_dim": 32,
                "mamba_d_ssm": 64,
                "mamba_n_heads": 4,
                "mamba_d_head": 16,
                "mamba_d_state": 16,
                "mamba_chunk_size": 16,
            },
        ),
        Family(
            "Qwen3-Next",
            "Qwen3Next",
            {
                **COMMON,
                **ONE_KEY_HEAD,
                **FOUR_EXPERTS,
                "head_dim": 32,
                "layer_types": ["linear_attention", "full_attention"],
                "shared_expert_intermediate_size": 32,
                "linear_key_head_dim": 16,
                "linear_value_head_dim": 16,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
            },
        ),
        Family(
            "Mamba",
            "Mamba",
            {**MARKS, "vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
        ),
        Family(
            "Jamba",
            "Jamba",
            {
                **COMMON,
                **ONE_KEY_HEAD,
                "num_experts_per_tok": 2,
                "num_experts": 4,
                "attn_layer_period": 2,
                "attn_layer_offset": 1,
                "expert_layer_period": 2,
                "expert_layer_offset": 1,
                "mamba_d_state": 8,
                "use_mamba_kernels": False,
            },
        ),
    )
}


def with_context(family: Family, context: int) -> Family:
    """The same language model inside a wrapper with another context."""
    text = {**family.fields["text_config"], "max_position_embeddings": context}
    return Family(family.name, family.prefix, {**family.fields, "text_config": text}, family.model)


def save_random(build: Callable[[], Any], folder: Path) -> Path:
    """The model with random weights in bfloat16 and a tokenizer, saved in `folder`."""
    import torch

    make_tokenizer(folder)
    torch.manual_seed(2)
    build().to(torch.bfloat16).save_pretrained(folder)
    return folder
