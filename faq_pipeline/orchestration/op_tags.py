"""Op tags. This module imports nothing of the pipeline."""

from __future__ import annotations

GPU_POOL = "gpu"
"""Pool of all stages that load a model. The instance limits how many run at once, one by default.

A lease, not the pool, keeps two stages off the same GPU; see `gpu.lease`.
"""

GPU: dict[str, object] = {
    "faq/device": "gpu",
    # Read by dagster-k8s's executor, which runs each step in its own pod: a step that loads a model
    # requests one whole GPU. A run in a single pod uses the tags of the run instead; see `run_tags`.
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
    },
}
CPU: dict[str, object] = {"faq/device": "cpu"}
"""Stages that only process text; they may run beside a GPU stage."""
