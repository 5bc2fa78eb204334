"""Watches the inputs of a model's linear layers while rows go through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Hook = Callable[[torch.nn.Module, Any], None]
"""Takes the module and its positional arguments; the first is its input."""


@contextmanager
def hooked(model: PreTrainedModel, hook: Callable[[str, torch.nn.Linear], Hook]) -> Iterator[None]:
    """For every linear layer but the output head, `hook(name, module)` gives what runs before the layer."""
    head = model.get_output_embeddings()
    handles = [
        module.register_forward_pre_hook(hook(name, module))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
