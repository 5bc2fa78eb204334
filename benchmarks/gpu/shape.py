"""A model folder of Qwen3-8B's shape with random weights, so that no hub is needed.

    python -m benchmarks.gpu.shape FOLDER [--layers 36] [--no-weights]

Weights are drawn with the usual spread (0.02; norms are 1), so that logits are as wide as at the
start of training: vLLM's own dummy weights are next to zero, which makes every token equally
likely and hides how rounding differs from batch to batch. 36 layers take 16 GB. Its tokenizer has
Qwen3's vocabulary size and no end mark, so that every sample is as long as it may be.
"""

from __future__ import annotations

import argparse
import json
import string
import time
from pathlib import Path
from typing import Any

QWEN3_8B: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "eos_token_id": None,
    "bos_token_id": None,
}
SPREAD = 0.02


def make_shape(folder: Path, changes: dict[str, Any], *, weights: bool = True) -> None:
    """Write config, tokenizer and (unless only their shapes matter) weights, one file a layer."""
    from transformers import Qwen3Config

    folder.mkdir(parents=True, exist_ok=True)
    config = Qwen3Config(**{**QWEN3_8B, **changes}, dtype="bfloat16", architectures=["Qwen3ForCausalLM"])
    config.save_pretrained(folder)
    _write_tokenizer(folder, config.vocab_size)
    if weights:
        _write_weights(folder, config)


def words(size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of bytes and lower-case words after a space, shortest first, and their merges."""
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = {symbol: index for index, symbol in enumerate(sorted(ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    stems = ["Ġ"]
    while len(vocabulary) < size:
        longer = [(stem, letter) for stem in stems for letter in string.ascii_lowercase]
        longer = longer[: size - len(vocabulary)]
        merges += longer
        stems = [stem + letter for stem, letter in longer]
        vocabulary |= {stem: len(vocabulary) + index for index, stem in enumerate(stems)}
    return vocabulary, merges


def _write_tokenizer(folder: Path, size: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary, merges = words(size)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # A tokenizer without an end mark needs one for padding: a symbol that no text has.
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, pad_token="Ġ"
    )
    made.save_pretrained(folder)


def _write_weights(folder: Path, config: Any) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(0)
    with torch.device("meta"):
        shapes = {name: p.shape for name, p in AutoModelForCausalLM.from_config(config).named_parameters()}
    shards: dict[str, list[str]] = {}
    for name in shapes:
        parts = name.split(".")
        shards.setdefault(f"layer-{int(parts[2]):02d}" if parts[1] == "layers" else "rest", []).append(name)
    where = {name: f"model-{shard}.safetensors" for shard, names in shards.items() for name in names}
    for shard, names in shards.items():
        tensors = {name: _drawn(shapes[name], generator, device) for name in names}
        save_file(tensors, folder / f"model-{shard}.safetensors", metadata={"format": "pt"})
    total = sum(2 * shape.numel() for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def _drawn(shape: Any, generator: Any, device: str) -> Any:
    import torch

    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    drawn = torch.empty(shape, dtype=torch.bfloat16, device=device)
    return drawn.normal_(0.0, SPREAD, generator=generator).cpu()


def main() -> None:
    """Make the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=QWEN3_8B["num_hidden_layers"])
    parser.add_argument("--no-weights", action="store_true", help="for vLLM's load_format dummy")
    parser.add_argument("--change", type=json.loads, default={}, help="JSON: more fields of the config")
    options = parser.parse_args()
    started = time.perf_counter()
    changes = {"num_hidden_layers": options.layers, **options.change}
    make_shape(options.folder, changes, weights=not options.no_weights)
    size = sum(path.stat().st_size for path in options.folder.glob("*.safetensors"))
    print(f"{options.folder}: {size / 1e9:.1f} GB in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
