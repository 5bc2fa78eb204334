"""Lets llmcompressor's sequential pipeline go on where a killed run of the same quantization was.

The pipeline takes a model apart into steps: what is before the first decoder layer, then each decoder layer
(the last one with the head). For each step, rows go through it once to calibrate it, it is compressed, and
rows go through it again as it is now. After the second of these three, what the step made of the model is
recorded. Where a step is in the journal, its tensors are put in place of the first two; the third is left
out too where no later step is missing. So activations are not stored: they are computed again, from the
same bytes by the same operations. What a modifier carries on besides them decides whether it can be resumed
(`resumable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
    from faq_pipeline.quantization.solvers.two_streams import TwoStreamGPTQModifier

_UP, _DOWN = "adapter.up:", "adapter.down:"


def resumable(modifiers: Sequence[Any]) -> bool:
    """Whether a run of these modifiers, killed and resumed, ends with the bytes of one that was not.

    That is known of the very classes listed here, and of no class derived from them, as a plugin's may be.
    They draw nothing, and what they gather belongs to one step; but those of two streams carry each row's
    hidden state in the unquantized model on, and are given the rows for it (`carrying`).
    """
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    from faq_pipeline.quantization.methods.activation_smoothing import ActivationSmoothingModifier
    from faq_pipeline.quantization.methods.weighted_gptq import WeightedGPTQModifier
    from faq_pipeline.quantization.solvers.modifier import SolvedGPTQModifier, WeightedSolvedGPTQModifier
    from faq_pipeline.quantization.solvers.two_streams import (
        TwoStreamGPTQModifier,
        WeightedTwoStreamGPTQModifier,
    )

    known = {
        QuantizationModifier,  # and its observers: imatrix, of activations, of the cache
        GPTQModifier,
        WeightedGPTQModifier,
        SolvedGPTQModifier,
        WeightedSolvedGPTQModifier,
        TwoStreamGPTQModifier,
        WeightedTwoStreamGPTQModifier,
        AWQModifier,
        SmoothQuantModifier,
        ActivationSmoothingModifier,
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

    from faq_pipeline.quantization.solvers.two_streams import TwoStreamGPTQModifier

    passes = sum(1 for modifier in modifiers if modifier.requires_calibration_data)
    carriers = [modifier for modifier in modifiers if isinstance(modifier, TwoStreamGPTQModifier)]
    run = _Run(journal, model, log, compensator, progress, passes, carriers)
    trace, batches = sequential.trace_subgraphs, sequential._get_batches
    end_of_epoch = LifecycleCallbacks.sequential_epoch_end

    def and_begin(*args: Any, **kwargs: Any) -> Any:
        subgraphs = trace(*args, **kwargs)
        run.begin(len(subgraphs))
        return subgraphs

    def unless_done(*args: Any, **kwargs: Any) -> Any:
        return run.rows(batches(*args, **kwargs))

    def or_restore(modules: list[torch.nn.Module], **kwargs: Any) -> Any:
        return run.compress(modules, lambda: end_of_epoch(modules, **kwargs))

    with ExitStack() as stack:
        stack.callback(run.settle)
        stack.enter_context(run.writer)
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
    carriers: Sequence[TwoStreamGPTQModifier]
    number: int = -1
    step: int = 0
    steps: int = 0
    compressed: bool = False
    there: set[int] = field(default_factory=set)
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    writing: Future[None] | None = None

    def __post_init__(self) -> None:
        self._name()
        self.own = set(self._tensors(self.model.modules()))

    def begin(self, steps: int) -> None:
        """A pass begins. Observers are attached after this: they are no part of the model."""
        self.settle()
        self._name()
        self.number, self.step, self.steps, self.compressed = self.number + 1, 0, steps, False
        self.there = self.journal.sound(self.number, steps)
        if self.there - {0}:  # the first step has no decoder layer
            self.progress.note(self._described())

    def rows(self, rows: Iterator[Any]) -> Iterator[Any]:
        """Those of the rows that must go through a step, called twice: to calibrate it, then to see what
        leaves it.
        """
        later = any(step not in self.there for step in range(self.step + 1, self.steps))
        if self.compressed:
            self.step, self.compressed = self.step + 1, False
            return rows if later else iter(())
        if self.step not in self.there:
            return rows
        return self._carried(rows) if later else iter(())

    def _carried(self, rows: Iterator[Any]) -> Iterator[Any]:
        """Rows of a step that need not be calibrated, for modifiers that carry something on from it."""
        with ExitStack() as stack:
            for modifier in self.carriers:
                stack.enter_context(modifier.carrying())
            yield from rows if self.carriers else ()

    def compress(self, modules: Sequence[torch.nn.Module], compress: Any) -> Any:
        """Compress the modules of a step, or put what was made of them in place."""
        if self.step >= self.steps:  # a modifier that looks at no rows, after the passes of others
            self.settle()
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
        self.settle()
        # Meanwhile the next step is made. It changes none of these tensors, which are the model's own.
        self.writing = self.writer.submit(self.journal.record, self.number, self.step, recorded)
        return result

    def settle(self) -> None:
        """Return once what was recorded is on disk: one step at most is being written."""
        if self.writing is not None:
            self.writing.result()
            self.writing = None
        self.journal.journal.tell()

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

    def _described(self) -> str:
        """One line for the user."""
        layers, kept = self.steps - 1, len(self.there - {0})
        first = next((step for step in range(1, self.steps) if step not in self.there), None)
        where = f" of pass {self.number + 1} of {self.passes}" if self.passes > 1 else ""
        source = "an earlier pass of this run" if self.journal.begun else "the interrupted run"
        if first is None:
            return f"All {layers} layers{where} are from {source}"
        return f"Resuming at layer {first} of {layers}{where}: {kept} layer{'s' * (kept > 1)} from {source}"


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
