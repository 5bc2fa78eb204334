"""What a run asks Kubernetes for, as tags of the run. Elsewhere nobody reads them."""

from __future__ import annotations

import json
import math

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import teacher_traits
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.models.device import working_bytes

BESIDES = 4 * 2**30
"""Bytes of main memory for all but weights. On a CPU a run of the embedded family takes one GiB in all; the
libraries of CUDA and vLLM, and activations between layers, take more."""


def k8s_tags(*cells: Cell) -> dict[str, str]:
    """Tags of a run that makes one of these cells: of what they need, the most.

    Read by dagster-k8s's run launcher, which gives a run one pod: it has the GPUs of the stage that
    takes most of them, and main memory for the larger of target and teacher, which pass through it
    on their way to a GPU. They count on GPUs whatever the cells' device: who asks for a run seldom
    has one.
    """
    gpus = max(stage.gpus(cell) for cell in cells for stage in STAGES.values() if stage.gpus is not None)
    memory = BESIDES + max(working_bytes(parameters) for cell in cells for parameters in _loaded(cell))
    resources = {
        "limits": {"nvidia.com/gpu": str(gpus)},
        "requests": {"memory": f"{math.ceil(memory / 2**20)}Mi"},
    }
    return {"dagster-k8s/config": json.dumps({"container_config": {"resources": resources}})}


def _loaded(cell: Cell) -> list[int]:
    """Parameters of the models that a run loads on its own machine."""
    loaded = [cell.target.member.parameters]
    if cell.teacher is not None and not teacher_traits(cell).remote:
        loaded.append(cell.teacher.member.parameters)
    return loaded
