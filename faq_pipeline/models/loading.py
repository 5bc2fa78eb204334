"""Loads members into memory. The only module that calls `from_pretrained` on a member."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import fix_threads, torch_device
from faq_pipeline.models.precision import Precision, precision_for
from faq_pipeline.models.weights import Weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(weights: Weights) -> PreTrainedTokenizerBase:
    """The member's tokenizer with its chat template."""
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        weights.folder, trust_remote_code=weights.member.trust_remote_code
    )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(weights: Weights, device: str, precision: Precision | None = None) -> PreTrainedModel:
    """The member on the device, in evaluation mode; fixes the process's CPU threads.

    Args:
        precision: that of `precision_for` where absent.
    """
    fix_threads(weights.member, device)
    model = load_folder(weights.folder, device, trust_remote_code=weights.member.trust_remote_code)
    return in_precision(model, precision or precision_for(weights.member, device))


def in_precision(model: PreTrainedModel, precision: Precision) -> PreTrainedModel:
    """A model that was loaded in bf16, widened in place where it is to compute in float32."""
    import torch

    # Not the model's own `float`, which refuses decompressed checkpoints.
    return torch.nn.Module.float(model) if precision == "float32" else model


def load_folder(folder: Path, device: str, **kwargs: Any) -> PreTrainedModel:
    """A checkpoint folder as a causal language model in bf16, in evaluation mode.

    Raises:
        FaqError: the weights do not fit the configuration, or some are missing.
        RuntimeError: they do not fit the device (`is_out_of_memory`), which says nothing of them.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would tear the run's own display
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, use_safetensors=True, output_loading_info=True, **kwargs
        )
    except (RuntimeError, OSError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FaqError(f"weights cannot be loaded: {first}", file=folder) from error
    model, info = loaded
    # transformers only warns, and makes up random weights.
    if missing := sorted(info["missing_keys"]):
        raise FaqError(
            f"weights are incomplete: {missing[0]} is missing"
            f"{f', and {len(missing) - 1} more' if missing[1:] else ''}",
            hint="copy or download them again",
            file=folder,
        )
    return model.to(torch_device(device)).eval()  # type: ignore[arg-type]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU or main memory is full. torch has an exception of its own for some of the cases."""
    return any(sign in str(error) for sign in ("out of memory", "ALLOC_FAILED", "can't allocate memory"))


def release(*_: object) -> None:
    """Give memory of dropped models back to the device. Call it after the last reference is gone."""
    gc.collect()
    if "torch" not in sys.modules:
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
