"""The identities of the evaluation stages."""

from __future__ import annotations

from typing import Any

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import target_identity, target_traits
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import compute_identity
from faq_pipeline.quantization.serving_format import served_as
from faq_pipeline.store.fingerprint import file_digest, tool_version


def evaluation_identity(cell: Cell) -> dict[str, Any]:
    """The identity that both evaluations share. Files enter by digest, never by path.

    The gate is left out here, since it does not affect the measurement.
    """
    from faq_pipeline.evaluation.tasks import TaskFolder

    spec = cell.recipe.evaluation
    if not spec.prose.is_file():
        raise FaqError(
            "no such file",
            hint="evaluation.prose is a JSONL of {id, text}",
            file=spec.prose,
            key="evaluation.prose",
        )
    tasks: Any = list(spec.tasks)
    if spec.tasks and spec.include is not None:
        tasks = TaskFolder(spec.include).digests(spec.tasks)
    # A server forms its own batches, so its own identity replaces the batch size.
    served = {"server": target_identity(cell)} if target_traits(cell).served else {}
    apart = {"tasks", "include", "prose", "gate", *(["batch_size"] if served else [])}
    return {
        "target": cell.target.digest,
        "tokenizer": cell.target.tokenizer_digest,
        "tasks": tasks,
        "prose": file_digest(spec.prose),
        "evaluation": spec.model_dump(mode="json", exclude=apart),
        "thinking": cell.family.thinking.model_dump(mode="json"),
        "tools": {name: tool_version(name) for name in ("lm_eval", "transformers", "torch")},
        **compute_identity(cell.target.member, cell.device),
        **served,
    }


def report_identity(cell: Cell) -> dict[str, Any]:
    """The shared identity, how the checkpoint is served, and the gate."""
    spec, quantization = cell.recipe.evaluation, cell.recipe.quantization
    served = {"served_as": served_as(quantization, cell.device)} if target_traits(cell).served else {}
    gate = None if spec.gate is None else spec.gate.model_dump(mode="json")
    return {**evaluation_identity(cell), **served, "gate": gate}


def divergence_identity(cell: Cell) -> dict[str, Any]:
    """Only tools and device: the texts and the reference enter through the inputs."""
    return {
        "tools": {name: tool_version(name) for name in ("compressed-tensors", "transformers", "torch")},
        **compute_identity(cell.target.member, cell.device),
    }
