"""Finds out what a member is built of, by its model on torch's meta device: shapes without memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faq_pipeline.errors import library_errors
from faq_pipeline.models.architecture import Architecture, LinearLayer, Part
from faq_pipeline.models.fused_experts import fused_experts, single_expert_conversions
from faq_pipeline.models.linear_parts import linear_parts
from faq_pipeline.models.loading import load_config
from faq_pipeline.models.weights import Weights
from faq_pipeline.store.fingerprint import tool_version

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FUSED = "transformers loads no experts that are stored one by one"
RESHAPED = "files hold its weight in another shape"
INITIALIZED = "transformers reads its dense weight as it loads a model"
UNCALLED = "the model reads its weight and never calls it, so that no calibration reaches it"
"""Obstacles of layers."""


def on_meta(weights: Weights) -> PreTrainedModel:
    """A member without its weights, its modules on torch's meta device.

    Raises:
        FaqError: see `load_config`; or transformers knows no causal language model of this configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config, trust = load_config(weights), weights.member.trust_remote_code
    version = tool_version("transformers")
    problem = f"{weights.name!r} is no causal language model that transformers {version} can build"
    with library_errors(problem, file=weights.folder / "config.json"), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
    return model


def describe(model: PreTrainedModel) -> Architecture:
    """What a model on the meta device is built of; the model is of no use afterwards."""
    import torch
    from transformers.core_model_loading import revert_weight_conversion
    from transformers.pytorch_utils import Conv1D

    from faq_pipeline.models.layer_probe import read_when_loading, read_without_call

    whole, tied = model.state_dict(), set(model.all_tied_weights_keys or ())
    state = {name: tensor for name, tensor in whole.items() if name not in tied}
    parts, experts = linear_parts(model), fused_experts(model)
    if conversions := single_expert_conversions(model) if experts else None:
        model._weight_conversions = conversions  # type: ignore[assignment]
        blocks = {one.name for one in experts}
        state = {name: tensor for name, tensor in state.items() if name.rpartition(".")[0] not in blocks}
        # One expert of a block tells the names of all.
        state |= {
            f"{one.name}.0.{own}.weight": torch.empty(shape, device="meta")
            for one in experts
            for own, shape in one.shapes.items()
        }
    of = {id(tensor): name for name, tensor in state.items()}
    files = revert_weight_conversion(model, state)
    stored = {of[id(tensor)]: name for name, tensor in files.items() if id(tensor) in of}
    inside = [name for name, part in parts.items() if part == "decoder"]
    obstacles = dict.fromkeys(read_without_call(model, inside), UNCALLED)
    obstacles |= dict.fromkeys(read_when_loading(model, inside), INITIALIZED)

    def layer(name: str, part: Part, rows: int, columns: int) -> LinearLayer:
        file = stored.get(f"{name}.weight", "").removesuffix(".weight")
        obstacle = obstacles.get(name, "") if file else FUSED if part == "expert" else RESHAPED
        return LinearLayer(name, file, part, rows, columns, obstacle)

    layers = [
        layer(name, part, *state[f"{name}.weight"].shape)
        for name, part in parts.items()
        if f"{name}.weight" in state
    ]
    firsts = [
        layer(f"{one.name}.0.{own}", "expert", *shape) for one in experts for own, shape in one.shapes.items()
    ]
    counts = {one.name: one.count for one in experts}
    others = [
        first._replace(module=_numbered(first.module, number), stored=_numbered(first.stored, number))
        for first in firsts
        for number in range(1, counts[first.module.rpartition(".0.")[0]])
    ]
    tensors = {name: tuple(tensor.shape) for name, tensor in files.items()}
    tensors |= {f"{other.stored}.weight": (other.rows, other.columns) for other in others if other.stored}
    return Architecture(
        name=type(model).__name__,
        layers=(*layers, *firsts, *others),
        transposed=tuple(name for name, module in model.named_modules() if isinstance(module, Conv1D)),
        tensors=dict(sorted(tensors.items())),
        tied={name: tuple(whole[name].shape) for name in sorted(tied & whole.keys())},
    )


def _numbered(first: str, number: int) -> str:
    """The name of another expert's layer, after that of the first expert's; "" of ""."""
    block, _, own = first.rpartition(".0.")
    return f"{block}.{number}.{own}" if own else ""
