"""Tries, on torch's meta device, which layers a model treats in a way that quantization does not survive."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from faq_pipeline.models.fused_experts import fused_experts


def read_without_call(model: PreTrainedModel, layers: Collection[str]) -> set[str]:
    """The layers whose weight a forward pass reads itself, in a module that calls others of its layers.

    None where the model has no forward pass on the meta device.
    """
    called: set[str] = set()

    def note(name: str) -> Callable[..., None]:
        return lambda *_: called.add(name)

    handles = [model.get_submodule(name).register_forward_pre_hook(note(name)) for name in layers]
    experts: list[Any] = [model.get_submodule(one.name) for one in fused_experts(model)]
    try:
        for one in experts:  # what they return depends on the tokens that each of them gets
            one.forward = lambda hidden, *_, **__: hidden
        with torch.no_grad(), _ZeroValues():
            model(input_ids=torch.zeros(1, 4, dtype=torch.long, device="meta"), use_cache=False)
    except Exception:  # whatever a model's code raises where tensors have no values
        return set()
    finally:
        for one in experts:
            del one.forward
        for handle in handles:
            handle.remove()
    blocks = {name.rpartition(".")[0] for name in called}
    return {name for name in layers if name not in called and name.rpartition(".")[0] in blocks}


def read_when_loading(model: PreTrainedModel, layers: Collection[str]) -> set[str]:
    """The layers whose dense weight the model's initialization reads, which runs as it is loaded.

    Found by trying, with the weights taken out.
    """
    dense = {name: model.get_submodule(name)._parameters.pop("weight") for name in layers}
    found: set[str] = set()
    for name, module in model.named_modules():
        if _initializes(owner := _owner(model, name), module):
            continue
        near = [name] if name in dense else [own for own in dense if own.rpartition(".")[0] == name]
        for own in near:
            for other in near:
                model.get_submodule(other)._parameters["weight"] = dense[other]
            del model.get_submodule(own)._parameters["weight"]
            if not _initializes(owner, module):
                found.add(own)
    return found


def _owner(model: PreTrainedModel, name: str) -> PreTrainedModel:
    """The innermost model around a module, whose code fills it."""
    owner, module = model, model
    for part in name.split(".") if name else ():
        module = getattr(module, part)
        owner = module if isinstance(module, PreTrainedModel) else owner
    return owner


def _initializes(owner: PreTrainedModel, module: torch.nn.Module) -> bool:
    try:
        with torch.no_grad():
            owner._init_weights(module)
    except AttributeError:
        return False
    return True


class _ZeroValues(TorchDispatchMode):
    """Values that a model asks of a meta tensor, to choose a branch by, are 0 or False."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 0
        return func(*args, **(kwargs or {}))
