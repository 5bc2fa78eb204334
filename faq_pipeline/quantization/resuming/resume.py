"""Lets llmcompressor's sequential pipeline go on where a killed run of the same quantization was.

The pipeline takes a model apart into steps: what is before the first decoder layer, then each decoder layer
(the last one with the head). For each step, rows go through it once to calibrate it, it is compressed, and
rows go through it again as it is now. After the second of these three, what the step made of the model is
recorded. Where a step is in the journal, its tensors are put in place of the first two; the third is left
out too where no later step is missing. So activations are not stored: they are computed again, from the
same bytes by the same operations. What a modifier carries on besides them decides whether it can be resumed
(`resumable`).

Once a step is recorded, the tensors of a model on the CPU lie in the journal's file, which is mapped: the
system can drop them from main memory and read them again. So the process's own memory does not grow with
every step (`ModelTensors`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from faq_pipeline.models.device import device_kind
from faq_pipeline.quantization.layer_log import LayerLog
from faq_pipeline.quantization.resuming.journal import RunJournal
from faq_pipeline.quantization.resuming.model_tensors import ModelTensors
from faq_pipeline.quantization.resuming.resumable import resumable
from faq_pipeline.quantization.resuming.run_state import RunState
from faq_pipeline.util.attributes import replaced_attribute
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from faq_pipeline.quantization.compensation.compensator import Compensator


@contextmanager
def resuming(
    journal: RunJournal | None,
    model: PreTrainedModel,
    modifiers: Sequence[Any],
    log: LayerLog,
    compensator: Compensator | None,
    device: str,
    progress: Progress,
) -> Iterator[None]:
    """Within it a run of llmcompressor leaves out what is in the journal, and records what it makes.

    Args:
        journal: None where nothing is kept.
        model: as it is before the run.
        log, compensator: of the run; what they have of recorded layers is restored.
        device: that computes.
    """
    if journal is None or not resumable(modifiers):
        yield
        return
    from llmcompressor.core import LifecycleCallbacks
    from llmcompressor.pipelines.sequential import pipeline as sequential

    from faq_pipeline.quantization.solvers.two_streams import TwoStreamGPTQModifier

    passes = sum(1 for modifier in modifiers if modifier.requires_calibration_data)
    carriers = [modifier for modifier in modifiers if isinstance(modifier, TwoStreamGPTQModifier)]
    tensors = ModelTensors(model, on_cpu=device_kind(device) == "cpu")
    run = RunState(journal, model, tensors, log, compensator, progress, passes, carriers)
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
