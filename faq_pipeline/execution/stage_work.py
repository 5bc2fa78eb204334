"""How much a stage of a cell has to do, in figures that time and disk are taken to grow with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from faq_pipeline.calibration.selectors import find_selector
from faq_pipeline.competition.experts import experts_named
from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.question_count import written_answers
from faq_pipeline.models.device import device_kind
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.methods import find_method
from faq_pipeline.regeneration.traces_stage import COUNT


@dataclass(frozen=True)
class StageWork:
    """What a stage does, before it is done.

    Attributes:
        kind: who does it, and where; only work of one kind is compared.
        tokens: generated or read, at most; 0 where the work does not grow with tokens, or their number
            is not known before.
        parameters: of the model that is loaded; 0 where none is.
        disk: what the artifact's size is proportional to, None where that is not known.
        form: artifacts of one form have the same size for the same `disk`.
        gpus: that are held while it lasts (places of the device, where that is a CPU); 0 where no
            model is loaded.
    """

    kind: str
    tokens: int
    parameters: int
    disk: int | None
    form: str = ""
    gpus: int = 0

    @property
    def load(self) -> int:
        """What the time is proportional to."""
        return max(1, self.tokens) * max(1, self.parameters)

    def as_dict(self) -> dict[str, Any]:
        """For a manifest's metadata."""
        return {**asdict(self), "load": self.load}


def work_of(stage: str, cell: Cell) -> StageWork:
    """The work of one stage.

    Raises:
        FaqError: the cell names something unknown, or a file of its evaluation is not there.
    """
    return _STAGES[stage](cell) if stage in _STAGES else StageWork("other", 0, 0, None)


def _seeds(cell: Cell) -> StageWork:
    seeds = cell.recipe.seeds
    return StageWork("dataset" if seeds.path is None else "file", 0, 0, seeds.count)


def _traces(cell: Cell) -> StageWork:
    spec = cell.recipe.evaluation
    tokens = COUNT * spec.max_new_tokens
    return StageWork(
        _by_engine(cell, spec.engine),
        tokens,
        cell.target.member.parameters,
        tokens,
        gpus=_gpus(cell, spec.engine, cell.target),
    )


def _corpus(cell: Cell) -> StageWork:
    regeneration = cell.recipe.regeneration
    if cell.teacher is None or regeneration.sampling is None:
        return StageWork(regeneration.source, 0, 0, _candidates(cell), regeneration.source)
    tokens = _candidates(cell) * regeneration.sampling.max_new_tokens
    # The model of an endpoint is loaded elsewhere, yet its time grows with its size.
    return StageWork(
        _by_engine(cell, regeneration.engine),
        tokens,
        cell.teacher.member.parameters,
        tokens,
        gpus=_gpus(cell, regeneration.engine, cell.teacher),
    )


def _competition(cell: Cell) -> StageWork:
    experts = experts_named(cell.recipe.competition.experts)
    names = "+".join(sorted(expert.name for expert in experts)) or "random"
    sampling = cell.recipe.regeneration.sampling
    needs = {need for expert in experts for need in expert.needs}
    # Seeds passed through are no business of `target`, and as long as they are.
    reads = needs & ({"activations"} if sampling is None else {"target", "activations"})
    if not reads:
        return StageWork(names, 0, 0, _candidates(cell), names)
    engine = cell.recipe.evaluation.engine if "target" in reads else "transformers"
    models = 2 if "scheme" in needs else 1  # the target, and beside it its rounded copy
    return StageWork(
        f"{names} by {_by_engine(cell, engine)}",
        0 if sampling is None else _candidates(cell) * sampling.max_new_tokens,
        models * cell.target.member.parameters,
        _candidates(cell),
        names,
        _gpus(cell, engine, cell.target),
    )


def _calibration(cell: Cell) -> StageWork:
    spec, sampling = cell.recipe.calibration, cell.recipe.regeneration.sampling
    kind, read = device_kind(cell.device), spec.tokens
    if selector := find_selector(spec.selection):
        kind = f"{selector.name} on {kind}"
        if selector.needs_activations and sampling is not None:
            read += cell.recipe.seeds.count * sampling.max_new_tokens
    return StageWork(kind, read, cell.target.member.parameters, spec.tokens, gpus=1)


def _checkpoint(cell: Cell) -> StageWork:
    spec, parameters = cell.recipe.quantization, cell.target.member.parameters
    tokens = cell.recipe.calibration.tokens if find_method(spec.method).calibrated else 0
    form = f"{spec.scheme} {spec.group_size}"
    return StageWork(
        f"{spec.method} on {device_kind(cell.device)}", tokens, parameters, parameters, form, gpus=1
    )


def _evaluation(cell: Cell) -> StageWork:
    spec, parameters = cell.recipe.evaluation, cell.target.member.parameters
    kind, gpus = _by_engine(cell, spec.engine), _gpus(cell, spec.engine, cell.target)
    asked = written_answers(spec)
    if asked is None:  # then only the same questions tell how long they take
        kind = f"{kind}: {' '.join(spec.tasks)}, limit {spec.limit}, {spec.max_new_tokens} tokens"
        return StageWork(kind, 0, parameters, 1, kind, gpus)
    # Each answer as it is written, and the traces and prose that the divergence is measured on.
    tokens = (asked + 2 * spec.traces) * spec.max_new_tokens
    return StageWork(kind, tokens, parameters, tokens, gpus=gpus)


def _candidates(cell: Cell) -> int:
    return cell.recipe.seeds.count * cell.recipe.regeneration.candidates


def _by_engine(cell: Cell, engine: str) -> str:
    return f"{engine} on {device_kind(cell.device)}"


def _gpus(cell: Cell, engine: str, weights: Weights) -> int:
    """Of an endpoint it is not known over how many it spreads its model."""
    return cell.serving(weights).gpus if engine == "vllm" else 1


_STAGES: dict[str, Callable[[Cell], StageWork]] = {
    "seed_data": _seeds,
    "inference_traces": _traces,
    "regenerated_corpus": _corpus,
    "competition_scores": _competition,
    "calibration_set": _calibration,
    "quantized_checkpoint": _checkpoint,
    "reference_eval": _evaluation,
    "eval_report": _evaluation,
}
