"""Loads members into memory. The only module that calls `from_pretrained` on a member."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.json_objects import read_object
from faq_pipeline.errors import FaqError, library_errors
from faq_pipeline.models.cpu_threads import fix_threads
from faq_pipeline.models.device import torch_device
from faq_pipeline.models.own_template import template_text
from faq_pipeline.models.precision import Precision, precision_for
from faq_pipeline.models.tokenizer_files import tokenizer_files
from faq_pipeline.models.weights import Weights
from faq_pipeline.util.memoize import memoized

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(weights: Weights) -> PreTrainedTokenizerBase:
    """The member's tokenizer with its chat template.

    It always has a padding token: where its files name none, the token that ends a text.

    Raises:
        FaqError: the files cannot be loaded, or name neither a padding token nor one that ends a text.
    """
    from transformers import AutoTokenizer

    folder, trust = weights.folder, weights.member.trust_remote_code
    hint = "copy or download the tokenizer's files again, or save them with save_pretrained"
    try:
        with library_errors("the tokenizer cannot be loaded", file=folder, hint=hint):
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=trust
            )
    except FaqError:
        for name in tokenizer_files(folder):  # where one of them is damaged, it is named
            if name.endswith(".json"):
                read_object(folder / name)
        raise
    if weights.member.chat_template is not None:
        tokenizer.chat_template = template_text(weights.member.chat_template)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or _end_token(weights, tokenizer)
    return tokenizer


@memoized
def shared_tokenizer(weights: Weights) -> PreTrainedTokenizerBase:
    """As `load_tokenizer`, for those who change nothing about it: within `memoizing()` all get the same."""
    return load_tokenizer(weights)


def load_config(weights: Weights) -> PretrainedConfig:
    """The member's configuration with the defaults of its architecture.

    Raises:
        FaqError: transformers does not know the architecture, or a value does not fit it.
    """
    from transformers import AutoConfig

    folder, trust = weights.folder, weights.member.trust_remote_code
    file, hint = folder / "config.json", "correct it, or see which transformers it was written for"
    with library_errors("the configuration cannot be loaded", file=file, hint=hint):
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    return config


def check_settings(weights: Weights) -> None:
    """Refuse a configuration, or generation settings, that the member could not be loaded or sampled with.

    Raises:
        FaqError: see `load_config`; or `generation_config.json` is invalid, which transformers finds when
            the model is loaded, or passes over in silence.
    """
    from transformers import GenerationConfig

    load_config(weights)
    file = weights.folder / "generation_config.json"
    if not file.is_file():
        return
    ends = read_object(file).get("eos_token_id")
    with library_errors("the generation settings cannot be loaded", file=file, hint="correct them"):
        GenerationConfig.from_pretrained(weights.folder)
    if ends is not None and not all(type(end) is int for end in (ends if isinstance(ends, list) else [ends])):
        problem = f"eos_token_id is {ends!r}, and not a token's number or a list of such"
        raise FaqError(problem, hint="correct it", file=file)


def forget_generation_settings(model: PreTrainedModel) -> None:
    """Let a model be saved whose generation settings transformers loads and refuses to save.

    As temperature without sampling, which many models are published with. The settings are those of
    its configuration then; the file of its own is copied beside the weights.
    """
    from transformers import GenerationConfig

    if model.can_generate():
        model.generation_config = GenerationConfig.from_model_config(model.config)


def _end_token(weights: Weights, tokenizer: PreTrainedTokenizerBase) -> str:
    """The token that ends a text by the model's configuration.

    Raises:
        FaqError: there is none.
    """
    for name in ("generation_config.json", "config.json"):
        file = weights.folder / name
        ids = read_object(file).get("eos_token_id") if file.is_file() else None
        first = ids[0] if isinstance(ids, list) and ids else ids
        if isinstance(first, int) and 0 <= first < len(tokenizer):
            return str(tokenizer.convert_ids_to_tokens(first))
    raise FaqError(
        "the tokenizer has neither a token that ends a text nor one for padding",
        hint='add "eos_token"',
        file=weights.folder / "tokenizer_config.json",
    )


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
    with library_errors("weights cannot be loaded", file=folder), _quiet("transformers"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, use_safetensors=True, output_loading_info=True, **kwargs
        )
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


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """No warnings of a logger: transformers' is a table of missing weights, and ours is one line."""
    logger = getLogger(name)
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def release(*_: object) -> None:
    """Give memory of dropped models back to the device. Call it after the last reference is gone."""
    gc.collect()
    if "torch" not in sys.modules:
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
