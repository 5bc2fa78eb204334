"""Runs llmcompressor's oneshot: a member in, a checkpoint folder out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.quantization import Quantization
from faq_pipeline.errors import FaqError, library_errors
from faq_pipeline.models.architecture import architecture_of
from faq_pipeline.models.cpu_threads import fix_threads
from faq_pipeline.models.loading import load_folder, load_tokenizer, release
from faq_pipeline.models.precision import precision_for
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.compute_device import activations_device, computing_on, reporting_to
from faq_pipeline.quantization.kv_cache import check_cached_attention
from faq_pipeline.quantization.layer_log import LayerLog, logging_layers
from faq_pipeline.quantization.methods import find_method, needs_calibration
from faq_pipeline.quantization.preparation import experts_as_prepared, prepare
from faq_pipeline.quantization.quiet import quiet_llmcompressor
from faq_pipeline.quantization.resuming.journal import Journal
from faq_pipeline.quantization.resuming.resume import resuming
from faq_pipeline.quantization.saving import save
from faq_pipeline.quantization.schemes import with_exact_names
from faq_pipeline.quantization.token_weights import is_weighted, row_weights
from faq_pipeline.quantization.widening import narrow, widen
from faq_pipeline.util.memory import is_out_of_memory
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from faq_pipeline.quantization.compensation.compensator import Compensator
    from faq_pipeline.quantization.compensation.low_rank import LowRank

FULL = "the GPU is full: quantizing anew, with activations in main memory"
SEED = 0
"""Nothing that these methods do is drawn; the seed is set so that this stays true of new ones."""


@dataclass(frozen=True)
class Quantized:
    """A quantized model in memory.

    Attributes:
        model: weights already on the grid of the scheme, not yet packed.
        log: figures of its layers; `log.fallback` names modules that GPTQ gave up (their Hessian was not
            positive definite) and rounded to nearest.
        adapter: what is to be added to the weights, by module; empty where the recipe has no compensation.
    """

    model: PreTrainedModel
    log: LayerLog
    adapter: dict[str, LowRank] = field(default_factory=dict)


def quantize(
    spec: Quantization,
    weights: Weights,
    rows: Sequence[Sequence[int]],
    folder: Path,
    device: str,
    progress: Progress,
    samples: Sequence[Sequence[int]] | None = None,
    journal: Journal | None = None,
) -> LayerLog:
    """Quantize a member and save it in `folder`; see `run`, `saving.save` and, for `ranks`, `ranks`.

    Several ranks keep no journal.

    Returns:
        `Quantized.log`.

    Raises:
        FaqError: see `run` and `LentFiles.check`.
    """
    if spec.ranks is not None:
        from faq_pipeline.quantization.ranks import quantize_on_ranks

        return quantize_on_ranks(spec, weights, rows, folder, device, progress, samples)
    quantized = run(spec, weights, rows, device, progress, samples, journal)
    save(quantized.model, weights, folder, quantized.adapter)
    if journal is not None:
        journal.lent.check()
    log = quantized.log
    del quantized
    release()
    return log


def run(
    spec: Quantization,
    weights: Weights,
    rows: Sequence[Sequence[int]],
    device: str,
    progress: Progress,
    samples: Sequence[Sequence[int]] | None = None,
    journal: Journal | None = None,
) -> Quantized:
    """Quantize a member in memory.

    The model is loaded into main memory whatever the device: see `computing_on`. Where activations
    stay on the GPU (`activations_device`) and it turns out to be full, all is done anew without that.

    Args:
        rows: calibration sequences in the target's token ids, used one at a time and uncut, the
            longest first; not looked at by methods that need none.
        samples: lengths of the samples of each row, for recipes that weigh them; one a row where None.
        journal: of the build; layers that it has are taken from it, and those that are made go to it.

    Raises:
        FaqError: no rows for a method that needs some.
    """
    calibrated = needs_calibration(spec)
    counts = token_counts(spec, weights, rows, device, progress, samples)
    between = activations_device(weights, rows, device) if calibrated else "cpu"

    def attempt(between: str) -> Quantized:
        return run_once(spec, weights, rows, counts, device, between, progress, journal=journal)

    quantized: Quantized | None = None
    try:
        quantized = attempt(between)
    except RuntimeError as error:
        if between == "cpu" or not is_out_of_memory(error):
            raise
    if quantized is None:
        release()  # what the error held is gone only now
        progress.note(FULL)
        quantized = attempt("cpu")
    note_fallback(quantized.log.fallback, progress)
    return quantized


def token_counts(
    spec: Quantization,
    weights: Weights,
    rows: Sequence[Sequence[int]],
    device: str,
    progress: Progress,
    samples: Sequence[Sequence[int]] | None,
) -> list[torch.Tensor] | None:
    """How much the tokens of each row count (`row_weights`), None where all count alike.

    Raises:
        FaqError: no rows for a method that needs some.
    """
    calibrated = needs_calibration(spec)
    if calibrated and not any(rows):
        raise FaqError(
            f"method {spec.method!r} needs a calibration set, and this one is empty",
            hint="raise calibration.tokens or seeds.count",
        )
    if not (calibrated and is_weighted(spec)):
        return None
    return row_weights(spec, weights, rows, samples or [[len(row)] for row in rows], device, progress)


def run_once(
    spec: Quantization,
    weights: Weights,
    rows: Sequence[Sequence[int]],
    counts: Sequence[torch.Tensor] | None,
    device: str,
    between: str,
    progress: Progress,
    processes: int = 1,
    journal: Journal | None = None,
) -> Quantized:
    """Quantize in this process.

    Args:
        counts: as `token_counts` gives them.
        between: where activations wait between two layers.
        processes: that quantize this member together, see `ranks`.
        journal: see `run`.
    """
    import torch
    from llmcompressor import oneshot
    from llmcompressor.core import reset_session

    torch.manual_seed(SEED)
    kept = None if journal is None else journal.run(spec)
    if spec.layer_bits is not None:
        spec = with_exact_names(spec, [layer.module for layer in architecture_of(weights).quantizable])
    compensator = _compensator(spec, weights)
    with (
        quiet_llmcompressor(),
        computing_on(device),
        experts_as_prepared(),
        logging_layers(compensator) as log,
    ):
        # Not the CPU's threads: the weights only lie there.
        fix_threads(weights.member, device, processes)
        model = load_folder(weights.folder, "cpu", trust_remote_code=weights.member.trust_remote_code)
        check_cached_attention(spec, model)
        modifiers = find_method(spec.method).modifiers(prepare(model, spec))
        wide = precision_for(weights.member, device) == "float32"
        stored = widen(model, modifiers) if wide else None
        with (
            resuming(kept, model, modifiers, log, compensator, device, progress),
            reporting_to(progress, _blocks(model, modifiers)),
        ):
            data = _data(rows, counts, between) if needs_calibration(spec) else {}
            tokenizer: Any = load_tokenizer(weights)
            try:
                with library_errors(f"{spec.method} failed on this model", file=weights.folder):
                    oneshot(model=model, processor=tokenizer, recipe=modifiers, **data)
            except BaseException:
                reset_session()  # it holds the model
                raise
        if stored is not None:
            narrow(model, modifiers, stored)
    return Quantized(model, log, {} if compensator is None else compensator.adapter)


def _compensator(spec: Quantization, weights: Weights) -> Compensator | None:
    """What makes the recipe's adapter, for all layers but a head."""
    if spec.compensation is None:
        return None
    from faq_pipeline.quantization.compensation.compensator import Compensator

    modules = [layer.module for layer in architecture_of(weights).quantizable if layer.part != "head"]
    return Compensator(spec.compensation, spec.dampening, modules)


def note_fallback(names: Sequence[str], progress: Progress) -> None:
    """Report the modules that GPTQ gave up."""
    if names:
        progress.note(
            f"GPTQ failed on {len(names)} layers, which are rounded to nearest: {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''} (raise quantization.dampening or calibration.tokens)"
        )


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


def _blocks(model: PreTrainedModel, modifiers: list[Any]) -> int:
    """How many blocks llmcompressor goes through: the layers and the head, for each calibration."""
    layers = int(model.config.get_text_config().num_hidden_layers) + 1
    calibrating = sum(1 for modifier in modifiers if modifier.requires_calibration_data)
    return layers * calibrating + len(modifiers) - calibrating
