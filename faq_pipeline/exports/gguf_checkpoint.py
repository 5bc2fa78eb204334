"""A checkpoint of symmetric integers as one GGUF file, with the very weights that it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.json_objects import read_object
from faq_pipeline.errors import FaqError
from faq_pipeline.exports.gguf_blocks import blocks, stored_bits
from faq_pipeline.exports.gguf_names import TensorNames, gguf_package
from faq_pipeline.exports.gguf_tokenizer import add_tokenizer
from faq_pipeline.exports.source import Source
from faq_pipeline.quantization.layers import ADAPTER, opened, shards
from faq_pipeline.quantization.stage import CHECKPOINT

if TYPE_CHECKING:
    import torch

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
"""Dense models whose tensors are laid out as llama.cpp expects them, but for `_ROTARY`."""
INSTEAD = "use --to imatrix and --to text, and let llama-quantize round"
_PACKED, _SCALE = ".weight_packed", ".weight_scale"


def write_gguf(source: Source, folder: Path) -> list[str]:
    """Write the checkpoint as `NAME.gguf`; integers and scales stay as they are.

    Returns:
        Lines for the user.

    Raises:
        FaqError: the package `gguf` is missing, or GGUF has no equal of the checkpoint.
    """
    gguf, checkpoint, cell = gguf_package(), source.checkpoint, source.cell
    path = checkpoint.file(CHECKPOINT)
    config = read_object(path / "config.json")
    _check(config, path)
    names = TensorNames(config["model_type"], config["num_hidden_layers"])
    file = folder / f"{cell.target.name}-{cell.recipe.name}.gguf"
    writer = gguf.GGUFWriter(file, names.architecture)
    writer.add_name(f"{cell.target.name} {cell.recipe.name}")
    writer.add_description(f"{cell.recipe.title}; {checkpoint.fingerprint}")
    writer.add_license(cell.family.licence)
    _add_shape(writer, config)
    notes = add_tokenizer(writer, path, config["vocab_size"])
    widest, count = 0, 0
    for name, tensor, bits in _weights(path):
        stored, kind = _stored(name, tensor, bits, config, gguf)
        writer.add_tensor(names.of(name), stored, raw_dtype=kind)
        widest, count = max(widest, stored_bits(bits) if bits else 0), count + bool(bits)
    kinds = gguf.LlamaFileType
    writer.add_file_type(kinds.MOSTLY_Q4_0 if widest == 4 else kinds.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    size = f"{file.stat().st_size / 1e6:.1f} MB"
    return [f"{count} weights with the checkpoint's integers and scales in {file.name} ({size})", *notes]


def _check(config: dict[str, Any], path: Path) -> None:
    """Refuse what GGUF, or this writer, has no equal of."""
    if (path / ADAPTER).is_dir():
        raise FaqError("this writer has no equal of the checkpoint's adapter", hint=INSTEAD)
    if config.get("model_type") not in MODEL_TYPES:
        raise FaqError(
            f"a {config.get('model_type')} checkpoint cannot become GGUF; {', '.join(MODEL_TYPES)} can",
            hint=INSTEAD,
        )
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise FaqError(f"positions of type {rope['rope_type']!r} cannot be written as GGUF", hint=INSTEAD)
    said = config["quantization_config"]
    if said.get("kv_cache_scheme"):
        raise FaqError("GGUF has no equal of a rounded cache", hint=INSTEAD)
    if said.get("transform_config"):
        raise FaqError("GGUF has no equal of this checkpoint's transforms", hint=INSTEAD)
    for group in said["config_groups"].values():
        weights, inputs = group["weights"], group.get("input_activations")
        if inputs is not None:
            raise FaqError("llama.cpp cannot round activations as this checkpoint does", hint=INSTEAD)
        if weights["type"] != "int" or not weights["symmetric"]:
            raise FaqError("only symmetric integers have an equal in GGUF without a loss", hint=INSTEAD)


def _add_shape(writer: Any, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {}
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(rope.get("rope_theta") or config.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _weights(folder: Path) -> Iterator[tuple[str, Any, int]]:
    """Tensors by name: a plain one with 0 bits, or (integers, scales) with their bits.

    Raises:
        FaqError: a weight whose columns are reordered.
    """
    import torch
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

    for shard in shards(folder):
        with opened(shard, "pt") as file:
            here = set(file.keys())
            for name in sorted(here):
                module = name.removesuffix(_PACKED)
                if name.endswith(_PACKED):
                    packed = file.get_tensor(name)
                    shape = torch.Size(file.get_tensor(f"{module}.weight_shape").tolist())
                    bits = packed.shape[1] * 32 // shape[1]
                    integers = unpack_from_int32(packed, bits, shape)
                    yield f"{module}.weight", (integers, file.get_tensor(module + _SCALE)), bits
                elif name.endswith(".weight_g_idx"):
                    raise FaqError(f"{name} reorders columns, which GGUF cannot", hint=INSTEAD)
                elif name.endswith(".weight") and f"{name.removesuffix('.weight')}{_SCALE}" in here:
                    yield name, (file.get_tensor(name), file.get_tensor(f"{name}_scale")), 8
                elif not name.endswith((_SCALE, ".weight_shape")):
                    yield name, file.get_tensor(name), 0


def _stored(name: str, tensor: Any, bits: int, config: dict[str, Any], gguf: Any) -> tuple[Any, Any]:
    """A tensor's bytes and their type."""
    heads = _heads(name, config)
    kinds = gguf.GGMLQuantizationType
    if bits:
        integers, scales = (_rotary(part, heads) for part in tensor)
        kind = kinds.Q4_0 if stored_bits(bits) == 4 else kinds.Q8_0
        return blocks(name, integers, scales, bits), kind
    plain = _rotary(tensor, heads)
    if plain.ndim == 1 or str(plain.dtype) == "torch.float32":
        return plain.float().numpy(), kinds.F32
    kind = kinds.F16 if str(plain.dtype) == "torch.float16" else kinds.BF16
    return gguf.quants.quantize(plain.float().numpy(), kind), kind


def _heads(name: str, config: dict[str, Any]) -> int:
    """Heads whose rows llama.cpp has in another order; 0 where it has them as transformers does."""
    if config["model_type"] not in ("llama", "mistral"):
        return 0
    heads: int = config["num_attention_heads"]
    if ".q_proj." in name:
        return heads
    return int(config.get("num_key_value_heads", heads)) if ".k_proj." in name else 0


def _rotary(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head with the two halves that a rotation pairs taken in turn."""
    if not heads:
        return tensor.contiguous()
    halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape).contiguous()
