"""Runs llmcompressor's oneshot: a member in, a checkpoint folder out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.recipe import Quantization
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import fix_threads
from faq_pipeline.models.loading import is_out_of_memory, load_folder, load_tokenizer, release
from faq_pipeline.models.precision import precision_for
from faq_pipeline.models.weights import Weights, copy_companions
from faq_pipeline.quantization.compute_device import activations_device, computing_on, reporting_to
from faq_pipeline.quantization.methods import Method, find_method
from faq_pipeline.quantization.quiet import quiet_llmcompressor
from faq_pipeline.quantization.token_weights import is_weighted, row_weights
from faq_pipeline.quantization.widening import narrow, widen
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

SEED = 0
"""Nothing that these methods do is drawn; the seed is set so that this stays true of new ones."""


@dataclass(frozen=True)
class Quantized:
    """A quantized model in memory.

    Attributes:
        model: weights already on the grid of the scheme, not yet packed.
        rtn_fallback: names of modules that GPTQ gave up (their Hessian was not positive definite)
            and rounded to nearest.
    """

    model: PreTrainedModel
    rtn_fallback: tuple[str, ...]


def quantize(
    spec: Quantization,
    weights: Weights,
    rows: Sequence[Sequence[int]],
    folder: Path,
    device: str,
    progress: Progress,
    samples: Sequence[Sequence[int]] | None = None,
) -> tuple[str, ...]:
    """Quantize a member and save the checkpoint in `folder`; see `run` and `save`.

    Returns:
        `Quantized.rtn_fallback`.
    """
    quantized = run(spec, weights, rows, device, progress, samples)
    save(quantized.model, weights, folder)
    fallback = quantized.rtn_fallback
    del quantized
    release()
    return fallback


def run(
    spec: Quantization,
    weights: Weights,
    rows: Sequence[Sequence[int]],
    device: str,
    progress: Progress,
    samples: Sequence[Sequence[int]] | None = None,
) -> Quantized:
    """Quantize a member in memory.

    The model is loaded into main memory whatever the device: see `computing_on`. Where activations
    stay on the GPU (`activations_device`) and it turns out to be full, all is done anew without that.

    Args:
        rows: calibration sequences in the target's token ids, used one at a time and uncut, the
            longest first; not looked at by methods that need none.
        samples: lengths of the samples of each row, for recipes that weigh them; one a row where None.

    Raises:
        FaqError: no rows for a method that needs some.
    """
    method = find_method(spec.method)
    if method.calibrated and not any(rows):
        raise FaqError(
            f"method {spec.method!r} needs a calibration set, and this one is empty",
            hint="raise calibration.tokens or seeds.count",
        )
    counts = None
    if method.calibrated and is_weighted(spec):
        counts = row_weights(spec, weights, rows, samples or [[len(row)] for row in rows], device, progress)
    between = activations_device(weights, rows, device) if method.calibrated else "cpu"
    try:
        return _run(spec, weights, rows, counts, device, between, progress)
    except RuntimeError as error:
        if between == "cpu" or not is_out_of_memory(error):
            raise
    release()  # what the error held is gone only now
    progress.note("the GPU is full: quantizing anew, with activations in main memory")
    return _run(spec, weights, rows, counts, device, "cpu", progress)


def _run(
    spec: Quantization,
    weights: Weights,
    rows: Sequence[Sequence[int]],
    counts: Sequence[torch.Tensor] | None,
    device: str,
    between: str,
    progress: Progress,
) -> Quantized:
    """Quantize with row weights as `row_weights` gives them, and activations that wait on `between`."""
    import torch
    from llmcompressor import oneshot
    from llmcompressor.core import reset_session

    torch.manual_seed(SEED)
    method = find_method(spec.method)
    modifiers = method.modifiers(spec)
    fallback = _watched(modifiers)
    with quiet_llmcompressor(), computing_on(device):
        fix_threads(weights.member, device)  # not those of the CPU, which is only where the weights lie
        model = load_folder(weights.folder, "cpu", trust_remote_code=weights.member.trust_remote_code)
        wide = precision_for(weights.member, device) == "float32"
        stored = widen(model, modifiers) if wide else None
        with reporting_to(progress, _blocks(model, method, modifiers)):
            data = _data(rows, counts, between) if method.calibrated else {}
            tokenizer: Any = load_tokenizer(weights)
            try:
                oneshot(model=model, processor=tokenizer, recipe=modifiers, **data)
            except BaseException:
                reset_session()  # it holds the model
                raise
        if stored is not None:
            narrow(model, modifiers, stored)
    names = tuple(name for found in fallback for name in found)
    if names:
        progress.note(
            f"GPTQ failed on {len(names)} layers, which are rounded to nearest: {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''} (raise quantization.dampening or calibration.tokens)"
        )
    return Quantized(model, names)


def save(model: PreTrainedModel, weights: Weights, folder: Path) -> None:
    """Pack the model's weights and save them for transformers and vLLM.

    The same model gives the same bytes. Must follow its `run`, whose modifiers are written to
    `recipe.yaml`. The tokenizer's files and the generation configuration are the target's own.
    """
    from llmcompressor.core import reset_session

    with quiet_llmcompressor():
        model.save_pretrained(folder, save_compressed=True)
        reset_session()
    _without_version(folder / "generation_config.json")
    copy_companions(weights.folder, folder)


def _data(
    rows: Sequence[Sequence[int]], weights: Sequence[torch.Tensor] | None, between: str
) -> dict[str, Any]:
    """Rows as llmcompressor takes them; `weights` as `row_weights` gives them.

    Args:
        between: where activations wait between two layers.
    """
    from datasets import Dataset

    columns: dict[str, Any] = {"input_ids": [list(row) for row in rows]}
    if weights is not None:
        columns["loss_mask"] = [own.T.tolist() for own in weights]
    # A batch of one: larger ones are cut to their shortest row, or padded into the statistics.
    return {
        "dataset": Dataset.from_dict(columns),
        "use_loss_mask": weights is not None,
        "batch_size": 1,
        "num_calibration_samples": len(rows),
        "shuffle_calibration_samples": False,
        "max_seq_length": max(len(row) for row in rows),
        "sequential_offload_device": between,
    }


def _watched(modifiers: list[Any]) -> list[list[str]]:
    """The lists in which GPTQ modifiers note the modules that they round to nearest instead.

    Taken before the run: a modifier parts with its list when it ends, telling only the log.
    """
    from llmcompressor.modifiers.gptq import GPTQModifier

    return [m._rtn_fallback_module_names for m in modifiers if isinstance(m, GPTQModifier)]


def _blocks(model: PreTrainedModel, method: Method, modifiers: list[Any]) -> int:
    """How many blocks llmcompressor goes through: the layers and the head, for each calibration."""
    layers = int(model.config.get_text_config().num_hidden_layers) + 1
    if not method.calibrated:
        return 1
    calibrating = sum(1 for modifier in modifiers if modifier.requires_calibration_data)
    return layers * calibrating + len(modifiers) - calibrating


def _without_version(path: Path) -> None:
    """Take the writing library's version out of a generation configuration that it made up."""
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("transformers_version", None)
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
