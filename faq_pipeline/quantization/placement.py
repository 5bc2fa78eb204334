"""Where llmcompressor computes, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from faq_pipeline.models.device import torch_device
from faq_pipeline.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARE = 0.25
"""How much of a GPU's free memory activations may take: the layer and its Hessians need the rest."""


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


def activations_device(model: PreTrainedModel, rows: Sequence[Sequence[int]], device: str) -> str:
    """Where the rows' activations wait between two layers; no byte of the checkpoint depends on it.

    llmcompressor keeps them in main memory unless told otherwise. Bringing them there and back takes a
    good part of a layer's time: they stay on the GPU where they, and an attention mask for every row,
    fit into a `SHARE` of what is free there.
    """
    import torch

    chosen = torch_device(device)
    if chosen.type == "cpu":
        return "cpu"
    width = model.config.get_text_config().hidden_size
    values = sum(len(row) * (width + len(row)) for row in rows)
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
    with patch.object(LifecycleCallbacks, "sequential_epoch_end", and_report):
        yield
