"""Named tags of ops, each with its reason. A leaf: imports nothing of the pipeline."""

from __future__ import annotations

GPU_POOL = "gpu"
"""Pool of every stage that loads a model: one at a time on a device."""

GPU: dict[str, object] = {
    "faq/device": "gpu",
    # Read by the k8s executor alone: a step that loads a model asks for one whole GPU.
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
    },
}
CPU: dict[str, object] = {"faq/device": "cpu"}
"""Stages that read and write text: they may run beside a GPU stage."""
