"""Where llmcompressor computes, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from faq_pipeline.models.device import torch_device
from faq_pipeline.progress import Progress


@contextmanager
def computing_on(device: str) -> Iterator[None]:
    """llmcompressor's pipelines compute on `device`.

    They choose by themselves: the first GPU where there is one, to which they bring one layer at a
    time (weights and activations in between stay in main memory, so that a model need not fit the
    GPU). Their choice is replaced while this is entered; and on the CPU so is AWQ's pinning of
    cached activations, which fails without an accelerator and is of use only with one.
    """
    from llmcompressor.pipelines.cache import IntermediatesCache
    from llmcompressor.pipelines.data_free import pipeline as data_free
    from llmcompressor.pipelines.sequential import pipeline as sequential

    chosen = torch_device(device)
    with ExitStack() as stack:
        for pipeline in (data_free, sequential):
            stack.enter_context(patch.object(pipeline, "get_main_device", lambda: chosen))
        if chosen.type == "cpu":
            stack.enter_context(patch.object(IntermediatesCache, "pin_memory", lambda *_, **__: None))
        yield


@contextmanager
def reporting_to(progress: Progress, total: int) -> Iterator[None]:
    """Tell `progress` of each block of the model that llmcompressor has worked through."""
    from llmcompressor.core import LifecycleCallbacks

    original = LifecycleCallbacks.sequential_epoch_end

    def and_report(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        progress.advance()
        return result

    progress.start("blocks of layers", total)
    with patch.object(LifecycleCallbacks, "sequential_epoch_end", and_report):
        yield
