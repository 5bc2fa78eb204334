"""Lets llmcompressor's sequential pipeline go on where a killed run of the same quantization was.

The pipeline takes a model apart into steps: what is before the first decoder layer, then each decoder layer
(the last one with the head). For each step, rows go through it once to calibrate it, it is compressed, and
rows go through it again as it is now. After the second of these three, what the step made of the model is
recorded. Where a step is in the journal, its tensors are put in place of the first two; the third is left
out too where no later step is missing. So activations are not stored: they are computed again, from the
same bytes by the same operations.

All that is carried from step to step besides the model and the rows must therefore be in the journal. It is
not for all modifiers: see `RESUMABLE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from faq_pipeline.quantization.layer_log import LayerLog
from faq_pipeline.quantization.resuming.journal import Recorded, RunJournal
from faq_pipeline.util.attributes import replaced_attribute
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from faq_pipeline.quantization.compensation.compensator import Compensator

_UP, _DOWN = "adapter.up:", "adapter.down:"
_ORDINALS = ("first", "second", "third")


def resumable(modifiers: Sequence[Any]) -> bool:
    """Whether a run of these modifiers, killed and resumed, ends with the bytes of one that was not.

    That is known of the very classes listed here, and of no class derived from them: what they gather
    belongs to one step, and they draw nothing. Not among them is the one of `gptaq`, which carries each
    row's hidden state of the unquantized model from step to step; nor any of a plugin.
    """
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    from faq_pipeline.quantization.methods.weighted_gptq import WeightedGPTQModifier
    from faq_pipeline.quantization.solvers.modifier import SolvedGPTQModifier, WeightedSolvedGPTQModifier

    known = {
        QuantizationModifier,  # and its observers: imatrix, of activations, of the cache
        GPTQModifier,
        WeightedGPTQModifier,
        SolvedGPTQModifier,
        WeightedSolvedGPTQModifier,
        AWQModifier,
        SmoothQuantModifier,
    }
    return all(type(modifier) in known for modifier in modifiers)


@contextmanager
def resuming(
    journal: RunJournal | None,
    model: PreTrainedModel,
    modifiers: Sequence[Any],
    log: LayerLog,
    compensator: Compensator | None,
    progress: Progress,
) -> Iterator[None]:
    """Within it a run of llmcompressor leaves out what is in the journal, and records what it makes.

    Args:
        journal: None where nothing is kept.
        model: as it is before the run.
        log, compensator: of the run; what they have of recorded layers is restored.
    """
    if journal is None or not resumable(modifiers):
        yield
        return
    from llmcompressor.core import LifecycleCallbacks
    from llmcompressor.pipelines.sequential import pipeline as sequential

    passes = sum(1 for modifier in modifiers if modifier.requires_calibration_data)
    run = _Run(journal, model, log, compensator, progress, passes)
    trace, batches = sequential.trace_subgraphs, sequential._get_batches
    end_of_epoch = LifecycleCallbacks.sequential_epoch_end

    def and_begin(*args: Any, **kwargs: Any) -> Any:
        subgraphs = trace(*args, **kwargs)
        run.begin(len(subgraphs))
        return subgraphs

    def unless_done(*args: Any, **kwargs: Any) -> Any:
        return batches(*args, **kwargs) if run.needs_rows() else iter(())

    def or_restore(modules: list[torch.nn.Module], **kwargs: Any) -> Any:
        return run.compress(modules, lambda: end_of_epoch(modules, **kwargs))

    with ExitStack() as stack:
        stack.enter_context(replaced_attribute(sequential, "trace_subgraphs", and_begin))
        stack.enter_context(replaced_attribute(sequential, "_get_batches", unless_done))
        stack.enter_context(replaced_attribute(LifecycleCallbacks, "sequential_epoch_end", or_restore))
        yield


@dataclass
class _Run:
    """Where a run of llmcompressor is: `number` of the pass, from 0, and `step` within it."""

    journal: RunJournal
    model: PreTrainedModel
    log: LayerLog
    compensator: Compensator | None
    progress: Progress
    passes: int
    number: int = -1
    step: int = 0
    steps: int = 0
    compressed: bool = False
    there: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._name()
        self.own = set(self._tensors(self.model.modules()))

    def begin(self, steps: int) -> None:
        """A pass begins. Observers are attached after this: they are no part of the model."""
        self._name()
        self.number, self.step, self.steps, self.compressed = self.number + 1, 0, steps, False
        self.there = self.journal.sound(self.number, steps)
        if self.there - {0}:  # the first step has no decoder layer
            self.progress.note(self._told())

    def needs_rows(self) -> bool:
        """Called before rows go through a step: first to calibrate it, then to see what leaves it."""
        if not self.compressed:
            return self.step not in self.there
        later = range(self.step + 1, self.steps)
        self.step, self.compressed = self.step + 1, False
        return any(step not in self.there for step in later)

    def compress(self, modules: Sequence[torch.nn.Module], compress: Any) -> Any:
        """Compress the modules of a step, or put what was made of them in place."""
        if self.step >= self.steps:  # a modifier that looks at no rows, after the passes of others
            return compress()
        self.compressed = True
        if self.step in self.there:
            self._restore(self.journal.read(self.number, self.step))
            return None
        modules = [module for module in modules if not self._is_out_of_it(module)]
        before = {name: value.clone() for name, value in self._tensors(modules).items() if name in self.own}
        result = compress()
        changed = {
            name: value.contiguous()
            for name, value in self._tensors(modules).items()
            # What llmcompressor has added is always written: until now it held whatever was in memory.
            if name not in before or not _equal(before[name], value)
        }
        names = [self.names[module] for module in modules if module in self.names]
        recorded = Recorded(changed | self._adapter(names), self._figures(names))
        self.journal.record(self.number, self.step, recorded)
        return result

    def _is_out_of_it(self, module: torch.nn.Module) -> bool:
        """Whether it is an embedding or head that is not quantized: the largest of all, and never changed."""
        ends = (self.model.get_input_embeddings(), self.model.get_output_embeddings())
        return module in ends and not hasattr(module, "quantization_scheme")

    def _name(self) -> None:
        self.names = {module: name for name, module in self.model.named_modules()}

    def _tensors(self, modules: Iterable[torch.nn.Module]) -> dict[str, torch.Tensor]:
        """The parameters and buffers of the model's modules by full name, where they lie between steps."""
        from compressed_tensors.offload import disable_onloading

        with disable_onloading():
            return {
                f"{self.names[module]}.{name}": value.detach()
                for module in modules
                if module in self.names
                for name, value in chain(module._parameters.items(), module._buffers.items())
                if value is not None
            }

    def _figures(self, names: Sequence[str]) -> dict[str, Any]:
        own, log = set(names), self.log
        return {
            "tokens": {name: count for name, count in log.tokens.items() if name in own},
            "errors": {name: error for name, error in log.errors.items() if name in own},
            "compensated": {name: error for name, error in log.compensated.items() if name in own},
            "fallback": [name for name in log.fallback if name in own],
        }

    def _adapter(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        adapter = {} if self.compensator is None else self.compensator.adapter
        for name in names:
            if name in adapter:
                found[_UP + name] = adapter[name].up.contiguous()
                found[_DOWN + name] = adapter[name].down.contiguous()
        return found

    def _restore(self, recorded: Recorded) -> None:
        from faq_pipeline.quantization.compensation.low_rank import LowRank

        tensors, figures = recorded.tensors, recorded.figures
        for name, tensor in tensors.items():
            if name.startswith(_UP) and self.compensator is not None:
                module = name.removeprefix(_UP)
                made = LowRank(tensor.clone(), tensors[_DOWN + module].clone())
                self.compensator.adapter[module] = made
            elif not name.startswith(_DOWN):
                _put(self.model, name, tensor)
        self.log.tokens.update(figures["tokens"])
        self.log.errors.update(figures["errors"])
        self.log.compensated.update(figures["compensated"])
        self.log.fallback.extend(figures["fallback"])

    def _told(self) -> str:
        """One line for the user."""
        layers, kept = self.steps - 1, len(self.there - {0})
        first = next((step for step in range(1, self.steps) if step not in self.there), None)
        where = f" of the {_ORDINALS[self.number]} pass" if self.passes > 1 else ""
        source = "this run, which made them already" if self.journal.begun else "the interrupted run"
        if first is None:
            return f"All {layers} layers{where} are from {source}"
        return f"Resuming at layer {first} of {layers}{where}: {kept} layers from {source}"


def _put(model: PreTrainedModel, name: str, tensor: torch.Tensor) -> None:
    """Set a tensor of the model, in the dtype that it had."""
    from compressed_tensors.offload import disable_onloading, update_offload_parameter

    path, _, own = name.rpartition(".")
    module = model.get_submodule(path)
    with disable_onloading():
        there = getattr(module, own)
        if (there.dtype, there.shape) != (tensor.dtype, tensor.shape):
            there.data = tensor
            return
    update_offload_parameter(module, own, tensor)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    return one.dtype == other.dtype and torch.equal(one, other)
