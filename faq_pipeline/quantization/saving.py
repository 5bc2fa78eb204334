"""Saves a quantized model as a checkpoint folder for transformers and vLLM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from faq_pipeline.models.loading import forget_generation_settings
from faq_pipeline.models.own_template import write_template
from faq_pipeline.models.weights import Weights, copy_companions
from faq_pipeline.quantization.checkpoint_config import complete_ignored
from faq_pipeline.quantization.quiet import quiet_llmcompressor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from faq_pipeline.quantization.compensation.low_rank import LowRank


def save(
    model: PreTrainedModel, weights: Weights, folder: Path, adapter: Mapping[str, LowRank] | None = None
) -> None:
    """Pack the model's weights and save them for transformers and vLLM.

    The same model gives the same bytes. Must follow its `oneshot.run`, whose modifiers are written to
    `recipe.yaml`. The tokenizer's files and the generation configuration are the target's own.
    """
    save_packed(model, folder)
    add_companions(weights, folder)
    if adapter:
        from faq_pipeline.quantization.compensation.adapter import write_adapter

        write_adapter(folder, weights, adapter)


def save_packed(model: PreTrainedModel, folder: Path) -> None:
    """The part of `save` that every process takes part in where several have quantized the model."""
    from llmcompressor.core import reset_session

    forget_generation_settings(model)
    with quiet_llmcompressor():
        model.save_pretrained(folder, save_compressed=True)
        reset_session()


def add_companions(weights: Weights, folder: Path) -> None:
    """Put the target's own tokenizer and generation configuration beside saved weights."""
    _without_version(folder / "generation_config.json")
    complete_ignored(weights, folder)
    copy_companions(weights.folder, folder)
    write_template(weights.member, folder)


def _without_version(path: Path) -> None:
    """Take the writing library's version out of a generation configuration that it made up."""
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("transformers_version", None)
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
