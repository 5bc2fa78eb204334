"""The engines of a cell: the recipe's for its teacher, the evaluation's for its target.

What else asks the target (traces, likelihoods) asks as the evaluation does, and not as the
regeneration: controls and teachers of other sizes then share its artifacts.
"""

from __future__ import annotations

from dataclasses import replace

from faq_pipeline.config.recipe import Recipe
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.engine import Engine, ServedEngine
from faq_pipeline.inference.factory import (
    ENGINES,
    EngineSpec,
    find_engine,
    make_engine,
    make_served_engine,
)
from faq_pipeline.inference.traits import EngineTraits
from faq_pipeline.models.device import device_kind
from faq_pipeline.models.weights import Weights

EVALUATION_KEY = "evaluation.engine"


def check_engines(recipe: Recipe) -> None:
    """Refuse engines that are unknown or cannot do what the recipe asks of them.

    Raises:
        FaqError: naming the recipe's key.
    """
    regeneration, evaluation = recipe.regeneration, recipe.evaluation
    remote = find_engine(regeneration.engine).traits.remote
    if remote and regeneration.endpoint is None:
        raise FaqError(
            f"engine {regeneration.engine!r} needs the section 'endpoint'",
            hint="add  endpoint: {base_urls: [...]}",
            key="regeneration.engine",
        )
    if not remote and regeneration.endpoint is not None:
        raise FaqError(
            f"engine {regeneration.engine!r} asks no endpoint",
            hint="remove the section 'endpoint', or use engine: endpoint",
            key="regeneration.endpoint",
        )
    if not find_engine(evaluation.engine, EVALUATION_KEY).traits.evaluates:
        able = [name for name, kind in ENGINES.items() if kind.traits.evaluates]
        raise FaqError(
            f"engine {evaluation.engine!r} cannot evaluate",
            hint=f"use {' or '.join(able)}",
            key=EVALUATION_KEY,
        )


def teacher_traits(cell: Cell) -> EngineTraits:
    """Traits of the engine that the teacher samples with."""
    return find_engine(cell.recipe.regeneration.engine).traits


def target_traits(cell: Cell) -> EngineTraits:
    """Traits of the evaluation's engine."""
    return find_engine(cell.recipe.evaluation.engine, EVALUATION_KEY).traits


def teacher_engine(cell: Cell) -> Engine:
    """The engine that the recipe names, for the cell's teacher. Nothing is loaded yet.

    Raises:
        FaqError: no engine has that name.
    """
    assert cell.teacher is not None
    regeneration = cell.recipe.regeneration
    spec = EngineSpec(
        weights=cell.teacher,
        device=cell.device,
        batch_size=regeneration.batch_size,
        serving=cell.serving(cell.teacher),
        endpoint=regeneration.endpoint,
    )
    return make_engine(regeneration.engine, spec)


def target_engine(cell: Cell) -> Engine:
    """The evaluation's engine for the target, in batches of its size. Nothing is loaded yet."""
    return make_engine(cell.recipe.evaluation.engine, _target_spec(cell))


def served_target_engine(cell: Cell, weights: Weights | None = None) -> ServedEngine:
    """The same where the engine has a server of its own.

    Args:
        weights: what it serves in the target's place, a checkpoint of it.
    """
    spec = replace(_target_spec(cell), weights=weights or cell.target)
    return make_served_engine(cell.recipe.evaluation.engine, spec)


def teacher_gpus(cell: Cell) -> int:
    """GPUs of this machine that the teacher takes; 0 where there is none, or it is loaded elsewhere."""
    return 0 if cell.teacher is None else teacher_traits(cell).gpus(cell.serving(cell.teacher))


def target_gpus(cell: Cell) -> int:
    """GPUs that the target takes: one in memory, behind a server as many as the family says."""
    return target_traits(cell).gpus(cell.serving(cell.target))


def work_kind(cell: Cell, engine: str) -> str:
    """Who does a stage's work, and where, as `StageWork.kind` has it."""
    return f"{engine} on {device_kind(cell.device)}"


def _target_spec(cell: Cell) -> EngineSpec:
    return EngineSpec(cell.target, cell.device, cell.recipe.evaluation.batch_size, cell.serving(cell.target))
