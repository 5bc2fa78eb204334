"""Tags of ops and runs: the GPU pool, and resource requests for Kubernetes."""

from __future__ import annotations

import json
import math

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import teacher_traits
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.models.device_memory import working_bytes

GPU_POOL = "gpu"
"""Pool of all stages that load a model. The instance limits how many run at once, one by default.

A lease, not the pool, keeps two stages off the same GPU; see `gpu.lease`.
"""

GPU: dict[str, object] = {
    "faq/device": "gpu",
    # Read by dagster-k8s's executor, which runs each step in its own pod: a step that loads a model
    # requests one whole GPU. A run in a single pod uses the tags of the run instead; see `k8s_tags`.
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
    },
}
CPU: dict[str, object] = {"faq/device": "cpu"}
"""Stages that only process text; they may run beside a GPU stage."""

BESIDES = 4 * 2**30
"""Bytes of main memory for everything except weights.

On a CPU, a run of the embedded family takes 1 GiB in total. The CUDA and vLLM libraries and the
activations between layers take more.
"""


def k8s_tags(*cells: Cell) -> dict[str, str]:
    """The tags of a run that makes any one of these cells, with their maximum requirements.

    They are read by dagster-k8s's run launcher, which gives each run one pod. The pod gets as many GPUs
    as the most demanding stage needs, and main memory for the larger of target and teacher, since
    weights pass through it on their way to a GPU. GPUs are requested whatever the cells' device is: the
    machine that requests a run often has no GPU.
    """
    gpus = max(stage.gpus(cell) for cell in cells for stage in STAGES.values() if stage.gpus is not None)
    memory = BESIDES + max(working_bytes(parameters) for cell in cells for parameters in _loaded(cell))
    resources = {
        "limits": {"nvidia.com/gpu": str(gpus)},
        "requests": {"memory": f"{math.ceil(memory / 2**20)}Mi"},
    }
    return {"dagster-k8s/config": json.dumps({"container_config": {"resources": resources}})}


def _loaded(cell: Cell) -> list[int]:
    """The parameter counts of the models that a run loads on its own machine."""
    loaded = [cell.target.member.parameters]
    if cell.teacher is not None and not teacher_traits(cell).remote:
        loaded.append(cell.teacher.member.parameters)
    return loaded
