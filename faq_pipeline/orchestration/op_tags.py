"""Named tags of ops, each with its reason. A leaf: imports nothing of the pipeline."""

from __future__ import annotations

GPU_POOL = "gpu"
"""Pool of every stage that loads a model: as many at a time as the instance sets, one by default. What
keeps two off one GPU is a lease, see `leases`."""

GPU: dict[str, object] = {
    "faq/device": "gpu",
    # Read by dagster-k8s's executor, which gives each step a pod: one that loads a model asks for one
    # whole GPU. A run in one pod asks by the tags of the run, see `run_tags`.
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
    },
}
CPU: dict[str, object] = {"faq/device": "cpu"}
"""Stages that read and write text: they may run beside a GPU stage."""
