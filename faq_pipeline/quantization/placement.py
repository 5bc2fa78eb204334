"""Where llmcompressor computes, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from faq_pipeline.progress import Progress


@contextmanager
def computing_on(device: str) -> Iterator[None]:
    """llmcompressor's pipelines compute on `device` (`cpu` or `cuda`).

    They choose by themselves: the accelerator where there is one, to which they bring one layer at
    a time (weights and activations in between stay in main memory, so that a model need not fit the
    GPU). Two things stand in the way of the CPU, and are taken away while this is entered:
    their choice where a GPU is present but not wanted, and AWQ's pinning of cached activations,
    which fails without an accelerator and is of use only with one.
    """
    if device != "cpu":
        yield
        return
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache
    from llmcompressor.pipelines.data_free import pipeline as data_free
    from llmcompressor.pipelines.sequential import pipeline as sequential

    def cpu() -> torch.device:
        return torch.device("cpu")

    with ExitStack() as stack:
        for pipeline in (data_free, sequential):
            stack.enter_context(patch.object(pipeline, "get_main_device", cpu))
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
