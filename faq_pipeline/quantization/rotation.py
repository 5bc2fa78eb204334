"""Rotates a model before it is quantized: the same function, with outliers spread over all channels.

Up to rounding: rotated weights are stored in the model's own precision.

The residual stream is multiplied by a random Hadamard matrix R1, and the values of each attention head by R2;
every layer that reads them takes the inverse (QuaRot, arXiv 2404.00456; R1 and R2 of SpinQuant, arXiv
2405.16406). Norm weights go into the layers behind them first, since a norm commutes with a rotation only
without them. All of it is merged into the weights.

Which layers are rotated and how is llmcompressor's. Its modifier also subtracts the mean of each embedding,
which a LayerNorm does not see and an RMSNorm does, so it is not used itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import Weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KINDS = ("llama", "mistral", "qwen2", "qwen3")
"""Models whose rotation is tested; `model_type` of config.json."""
SEED = 0
"""Of the signs of the Hadamard matrices."""


def check_rotation(spec: Quantization, weights: Weights) -> None:
    """Refuse to rotate a model of which it is not known that it stays the same.

    Raises:
        FaqError: it is of another kind, there is no Hadamard matrix of its size, or the recipe has a bit
            plan (whose costs are measured in the unrotated model) or several ranks.
    """
    if not spec.rotate:
        return
    kind = weights.config.get("model_type")
    if kind not in KINDS:
        raise FaqError(
            f"{weights.name!r} is a {kind!r} model, and rotation is tested for {', '.join(KINDS)}",
            hint="remove it",
            key="quantization.rotate",
        )
    for name, why in (
        ("plan", "a bit plan measures layers in the model as it is, and not rotated"),
        ("ranks", "rotation is not tested with several ranks"),
    ):
        if getattr(spec, name) is not None:
            raise FaqError(why, hint=f"remove rotate or {name}", key=f"quantization.{name}")
    for size in _sizes(weights):
        if not _has_hadamard(size):
            raise FaqError(
                f"no Hadamard matrix of size {size} is known, which {weights.name!r} needs",
                hint="remove it",
                key="quantization.rotate",
            )


def rotate(model: PreTrainedModel) -> None:
    """Rotate a model in place, in float64; its weights keep their precision.

    The same model gives the same bytes.
    An embedding that is tied to the head becomes two tensors, since norm weights go into the head alone.
    """
    from compressed_tensors import match_modules_set
    from compressed_tensors.transform import TransformFactory
    from llmcompressor.core import State
    from llmcompressor.modeling import fuse_norm_linears
    from llmcompressor.modifiers.transform import SpinQuantModifier
    from llmcompressor.utils import untie_word_embeddings
    from torch.utils._pytree import tree_leaves

    modifier: Any = SpinQuantModifier(transform_type="random-hadamard")  # R1 and R2
    modifier.on_initialize(State(model=model))
    untie_word_embeddings(model)
    for mapping in modifier.norm_mappings:
        for (norm,), *layers in match_modules_set(model, (mapping.norm, *mapping.linears)):
            fuse_norm_linears(norm, tree_leaves(layers))
    for name, scheme in modifier.transform_config.config_groups.items():
        TransformFactory.from_scheme(scheme, name=name, seed=SEED).apply_to_model(model, use_tqdm=False)


def _sizes(weights: Weights) -> tuple[int, int]:
    """Sizes of R1 and R2."""
    config = weights.config
    hidden = int(config["hidden_size"])
    return hidden, int(config.get("head_dim") or hidden // int(config["num_attention_heads"]))


def _has_hadamard(size: int) -> bool:
    import torch
    from compressed_tensors.transform.utils.hadamard import random_hadamard_matrix

    try:
        random_hadamard_matrix(size, torch.float32)
    except ValueError:
        return False
    return True
