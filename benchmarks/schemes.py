"""Every scheme on one member: stored bits a weight, size, and KL of the checkpoint that transformers loads.

    python -m benchmarks.schemes [--member kin-4m] [--method rtn] [--out docs/SCHEMES.md]

Each scheme quantizes the member, is saved and loaded again. "Loads equal" compares the logits of the loaded
checkpoint with those of the model that was quantized in memory. Integer schemes take one scale for each
group of 128 columns, or of 32 where asymmetric. Activations that are calibrated see 16 seeds. KL is the
mean over all tokens of 64 passages of the recipe's prose.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedModel

from benchmarks.methods import in_page
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.models.divergence import mean_divergence
from faq_pipeline.models.loading import load_model, load_tokenizer
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.quantization.inspection import bits_per_weight
from faq_pipeline.quantization.layers import weight_bytes
from faq_pipeline.quantization.load import load_quantized
from faq_pipeline.quantization.oneshot import run
from faq_pipeline.quantization.saving import save
from faq_pipeline.quantization.schemes import SCHEMES
from faq_pipeline.settings import Settings
from faq_pipeline.util.progress import SilentProgress

BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
HEADER = """\
| scheme | weights | activations | bits a weight | MB | KL, x 1e-3 | loads equal in transformers |
|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Measure, and write the table between the marks of the page, or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--member", default="kin-4m")
    parser.add_argument("--method", default="rtn")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    settings = Settings.from_environment()
    _, member = settings.catalog.member(options.member)
    weights = find_weights(member, settings.digests)
    recipe = settings.catalog.recipe("faq-one-gptq-w3a16")
    assert recipe.seeds.path is not None
    rows, prose = (
        seed_tokens(weights, recipe.seeds.path, 16),
        seed_tokens(weights, recipe.evaluation.prose, 64),
    )
    reference = load_model(weights, "cpu")
    lines = []
    for name in SCHEMES:
        spec = Quantization(method=options.method, scheme=name, group_size=groups(name))
        lines.append(_line(spec, weights, reference, rows, prose))
        print(lines[-1], flush=True)
    if options.out:
        page = options.out.read_text(encoding="utf-8")
        text = HEADER + "\n".join(lines) + "\n"
        options.out.write_text(in_page(page, text, BEGIN, END), encoding="utf-8")


def groups(scheme: str) -> int | None:
    """Columns that share a scale here; None where the scheme fixes them."""
    if SCHEMES.find(scheme).float_weights:
        return None
    return 32 if scheme.endswith("_ASYM") else 128


def _line(
    spec: Quantization,
    weights: Weights,
    reference: PreTrainedModel,
    rows: list[list[int]],
    prose: list[list[int]],
) -> str:
    quantized = run(spec, weights, rows, "cpu", SilentProgress()).model
    probe = torch.tensor([prose[0][:64]])
    with torch.no_grad(), tempfile.TemporaryDirectory() as directory:
        in_memory = quantized(probe).logits.float()
        folder = Path(directory)
        save(quantized, weights, folder)
        loaded = load_quantized(folder, weights.member, "cpu")
        equal = torch.allclose(loaded(probe).logits.float(), in_memory, atol=1e-2)
        divergence = mean_divergence(reference, loaded, prose)
        bits, size = bits_per_weight(folder, weights), weight_bytes(folder) / 1e6
    scheme = SCHEMES.find(spec.scheme)
    stored = f"{'float' if scheme.float_weights else 'int'}{scheme.weight_bits}"
    activations = "as they are" if scheme.activation_bits == 16 else f"{scheme.activation_bits} bits"
    return (
        f"| {spec.scheme} | {stored} | {activations} | {bits:.2f} | {size:.2f} | {1000 * divergence:.2f} |"
        f" {'yes' if equal else '**no**'} |"
    )


def seed_tokens(weights: Weights, path: Path, count: int) -> list[list[int]]:
    """The first texts of a JSONL file as token ids."""
    tokenizer = load_tokenizer(weights)
    with path.open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in islice(file, count)]
    return [tokenizer(text)["input_ids"] for text in texts]


if __name__ == "__main__":
    main()
