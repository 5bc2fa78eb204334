"""Where a run of llmcompressor is, what of it is in the journal, and what must still be made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faq_pipeline.quantization.layer_log import LayerLog
from faq_pipeline.quantization.resuming.journal import Recorded, RunJournal
from faq_pipeline.quantization.resuming.model_tensors import ModelTensors
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from faq_pipeline.quantization.compensation.compensator import Compensator
    from faq_pipeline.quantization.solvers.two_streams import TwoStreamGPTQModifier

_UP, _DOWN = "adapter.up:", "adapter.down:"


@dataclass
class RunState:
    """Where a run is: `number` of the pass, from 0, and `step` within it.

    Attributes:
        passes: how many there are to be.
        carriers: modifiers that carry something on from each step, see `TwoStreamGPTQModifier.carrying`.
        compressed: whether the step has been.
        there: steps of the pass that the journal has.
        finished: the last step that was, if its tensors are not mapped yet, and whether it is on disk.
    """

    journal: RunJournal
    model: PreTrainedModel
    tensors: ModelTensors
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
    finished: tuple[int, Future[bool]] | None = None

    def begin(self, steps: int) -> None:
        """A pass begins. Observers are attached after this: they are no part of the model."""
        self.settle()
        self.tensors.rename()
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

    def compress(self, modules: Sequence[torch.nn.Module], compress: Callable[[], Any]) -> Any:
        """Compress the modules of a step, or put what was made of them in place."""
        if self.step >= self.steps:  # a modifier that looks at no rows, after the passes of others
            self.settle()
            return compress()
        self.compressed = True
        if self.finished is not None and self.finished[1].done():
            self.settle()
        if self.step in self.there:
            self.settle()
            self._restore(self.journal.read(self.number, self.step))
            self.finished = self.step, _on_disk()
            return None
        modules = [module for module in modules if not self._is_out_of_it(module)]
        before = self.tensors.set_aside(modules)
        result = compress()
        names = self.tensors.names(modules)
        changed = self.tensors.changed(modules, before)
        recorded = Recorded(changed | self._adapter(names), self._figures(names))
        self.settle()
        # Meanwhile the next step is made. It changes none of these tensors, which are the model's own.
        writing = self.writer.submit(self.journal.record, self.number, self.step, recorded)
        self.finished = self.step, writing
        return result

    def settle(self) -> None:
        """Return once what was recorded is on disk, where the model has it from now on: one step at most is
        being written."""
        if self.finished is not None:
            step, writing = self.finished
            self.finished = None
            if writing.result() and self.tensors.on_cpu:
                self.journal.lend(self.number, step, self._take)
        self.journal.journal.tell()

    def _take(self, tensors: Mapping[str, torch.Tensor]) -> bool:
        adapter = (_UP, _DOWN)
        return self.tensors.map({name: tensors[name] for name in tensors if not name.startswith(adapter)})

    def _is_out_of_it(self, module: torch.nn.Module) -> bool:
        """Whether it is an embedding or head that is not quantized: the largest of all, and never changed."""
        ends = (self.model.get_input_embeddings(), self.model.get_output_embeddings())
        return module in ends and not hasattr(module, "quantization_scheme")

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
                self.tensors.put(name, tensor)
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
            return f"All {layers} decoder layers{where} are from {source}"
        return f"Resuming at layer {first} of {layers}{where}: {kept} layer{'s' * (kept > 1)} from {source}"


def _on_disk() -> Future[bool]:
    """As of a step that was written long ago."""
    done: Future[bool] = Future()
    done.set_result(True)
    return done
