"""The device on which llmcompressor computes, and its progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from faq_pipeline.models.device import torch_device
from faq_pipeline.models.loading import load_config
from faq_pipeline.models.weights import Weights
from faq_pipeline.util.attributes import replaced_attribute
from faq_pipeline.util.progress import Progress

SHARE = 0.25
"""How much of a GPU's free memory activations may take: the layer and its Hessians need the rest."""


@contextmanager
def computing_on(device: str) -> Iterator[None]:
    """llmcompressor's pipelines compute on `device`.

    They choose by themselves: the first GPU where there is one, to which they bring one layer at a
    time (the weights stay in main memory, so that a model need not fit the GPU; for activations see
    `activations_device`). Their choice is replaced while this is entered; and on the CPU so is AWQ's
    pinning of cached activations, which fails without an accelerator and is of use only with one.
    """
    from llmcompressor.pipelines.cache import IntermediatesCache
    from llmcompressor.pipelines.data_free import pipeline as data_free
    from llmcompressor.pipelines.sequential import pipeline as sequential

    chosen = torch_device(device)
    with ExitStack() as stack:
        for pipeline in (data_free, sequential):
            stack.enter_context(replaced_attribute(pipeline, "get_main_device", lambda: chosen))
        if chosen.type == "cpu":
            stack.enter_context(replaced_attribute(IntermediatesCache, "pin_memory", lambda *_, **__: None))
        yield


def activations_device(weights: Weights, rows: Sequence[Sequence[int]], device: str) -> str:
    """The device that holds the rows' activations between two layers; results do not depend on it.

    llmcompressor keeps them in main memory unless told otherwise. Bringing them there and back takes a
    good part of a layer's time: they stay on the GPU where they, and an attention mask for every row,
    fit into a `SHARE` of what is free there. That is what most models pass from layer to layer. Some
    pass more, and AWQ keeps inputs of its own on the GPU.
    """
    import torch

    chosen = torch_device(device)
    if chosen.type == "cpu":
        return "cpu"
    config = load_config(weights).get_text_config()
    values = sum(len(row) * (config.hidden_size + len(row)) for row in rows)
    free, _ = torch.cuda.mem_get_info(chosen)
    return str(chosen) if values * torch.bfloat16.itemsize <= SHARE * free else "cpu"


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
    with replaced_attribute(LifecycleCallbacks, "sequential_epoch_end", and_report):
        yield
