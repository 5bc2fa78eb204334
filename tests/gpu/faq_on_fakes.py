"""`faq` on GPUs that are not there: what would be computed on one is computed on the CPU.

`python -m tests.gpu.faq_on_fakes DIARY ARGUMENTS...`; who builds a stage that takes a GPU notes it
in the diary.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from faq_pipeline.cli.main import main
from faq_pipeline.core.stage import Build, Stage
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.models import device, gpus, loading
from faq_pipeline.models.device import device_gpus
from faq_pipeline.quantization import compute_device as placement
from tests.gpu.fakes import Diary, make_gpus


def noted(stage: Stage, diary: Diary) -> Stage:
    """The stage, with its stay on GPUs in the diary."""

    def build(job: Build) -> dict[str, Any]:
        if stage.gpus is None or not stage.gpus(job.cell):
            return stage.build(job)
        uuids = [gpu.uuid for gpu in device_gpus(job.cell.device)]
        diary.enter(uuids)
        try:
            return stage.build(job)
        finally:
            diary.leave(uuids)

    return replace(stage, build=build)


if __name__ == "__main__":
    there = make_gpus("Fake", "Fake")
    gpus.installed_gpus = lambda: there  # type: ignore[assignment]
    for module in (device, loading, placement):
        module.torch_device = lambda device: torch.device("cpu")  # type: ignore[assignment]
    diary = Diary(Path(sys.argv.pop(1)))
    STAGES.update({name: noted(stage, diary) for name, stage in STAGES.items()})
    main()
