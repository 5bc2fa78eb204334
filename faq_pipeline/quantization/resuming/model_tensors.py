"""The tensors of a model that is quantized step by step, by full name.

On a CPU weights begin as parts of mapped files, those of the unquantized model. What is written into such a
tensor becomes memory of the process's own, page by page, until no tensor is left of its file. So a step
works on copies, which go away once the step's tensors are in the journal's file (`ModelTensors.map`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

WIDEST = 2
"""Bytes of an element of tensors that are mapped. How a product with a float32 matrix is rounded depends
on where in memory the matrix begins, by 16 bytes, and in a file it begins anywhere. Models in float32 have
all their weights in memory of their own anyway (`widening`)."""


class ModelTensors:
    """The parameters and buffers of a model.

    Attributes:
        on_cpu: whether the CPU computes, and so works on the very tensors that lie in main memory.
    """

    def __init__(self, model: PreTrainedModel, on_cpu: bool) -> None:
        """The model is as it is before the run."""
        self._model, self.on_cpu = model, on_cpu
        self.rename()
        self._own = set(self._of(model.modules()))

    def rename(self) -> None:
        """Take the names of modules as they are now; a module that is added later has none."""
        self._names = {module: name for name, module in self._model.named_modules()}

    def names(self, modules: Iterable[torch.nn.Module]) -> list[str]:
        """Of those modules that have one."""
        return [self._names[module] for module in modules if module in self._names]

    def set_aside(self, modules: Iterable[torch.nn.Module]) -> dict[str, torch.Tensor]:
        """What the model's own tensors hold before a step changes them."""
        before: dict[str, torch.Tensor] = {}
        for name, value in self._of(modules).items():
            if name not in self._own:
                continue
            before[name], copy = value.detach(), value.detach().clone()
            if self.on_cpu:
                value.data = copy  # for the step to write into
            else:
                before[name] = copy
        return before

    def changed(
        self, modules: Iterable[torch.nn.Module], before: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What a step has changed or made since `set_aside`; the rest is as it was, in its old place."""
        made: dict[str, torch.Tensor] = {}
        for name, value in self._of(modules).items():
            # What llmcompressor has added is always among it: until now it held whatever was in memory.
            if name not in before or not _equal(before[name], value.detach()):
                made[name] = value.detach().contiguous()
            elif self.on_cpu:
                value.data = before[name]
        return made

    def put(self, name: str, tensor: torch.Tensor) -> None:
        """Give a tensor of the model a copy of these values, in their dtype."""
        import torch
        from compressed_tensors.offload import update_offload_parameter

        there = self._tensor(name)
        if (there.dtype, there.shape) != (tensor.dtype, tensor.shape):
            there.data = tensor.clone()
        elif self.on_cpu:
            there.data = torch.empty_like(there.detach()).copy_(tensor)  # with the same strides
        else:
            path, _, own = name.rpartition(".")
            update_offload_parameter(self._model.get_submodule(path), own, tensor)

    def map(self, tensors: Mapping[str, torch.Tensor]) -> bool:
        """Let tensors of a model lie in a mapped file, which has the same values. Only where `on_cpu`.

        Returns:
            Whether any does now.
        """
        mapped = False
        for name, tensor in tensors.items():
            there = self._tensor(name)
            same = (there.dtype, there.shape, there.stride()) == (tensor.dtype, tensor.shape, tensor.stride())
            if same and tensor.itemsize <= WIDEST:
                there.data, mapped = tensor, True
        return mapped

    def _tensor(self, name: str) -> torch.Tensor:
        from compressed_tensors.offload import disable_onloading

        path, _, own = name.rpartition(".")
        with disable_onloading():
            found: torch.Tensor = getattr(self._model.get_submodule(path), own)
        return found

    def _of(self, modules: Iterable[torch.nn.Module]) -> dict[str, torch.Tensor]:
        """Those of the modules, where they lie between steps."""
        from compressed_tensors.offload import disable_onloading

        with disable_onloading():
            return {
                f"{self._names[module]}.{name}": value
                for module in modules
                if module in self._names
                for name, value in chain(module._parameters.items(), module._buffers.items())
                if value is not None
            }


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    return one.dtype == other.dtype and torch.equal(one, other)
