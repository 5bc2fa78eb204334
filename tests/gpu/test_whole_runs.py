"""Whole runs in homes of their own that want the same GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faq_pipeline.execution.graph import STAGES
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.store import Store
from tests.gpu.fakes import Diary


@pytest.mark.slow
def test_two_runs_are_never_on_one_gpu_at_once(
    tiny_data: Path, leases: Path, diary: Diary, tmp_path: Path
) -> None:
    """One calls the GPU cuda:0, the other cuda:1; what they make is the same."""

    def begin(home: str, visible: str, device: str) -> subprocess.Popen[str]:
        arguments = ["run", "--member", "tiny-s", "--recipe", "tiny-faq", "--device", device, "--json"]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.gpu.faq_on_fakes", str(diary.path), *arguments],
            env={
                **{name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"},
                "FAQ_HOME": str(tmp_path / home),
                "FAQ_DATA": str(tiny_data),
                "CUDA_VISIBLE_DEVICES": visible,
            },
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    runs = [begin("one", "0,1", "cuda:0"), begin("other", "1,0", "cuda:1")]
    said = [run.communicate(timeout=600) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert {row["cache"] for out, _ in said for row in json.loads(out)["stages"]} == {"miss"}
    # All but the seeds, and the competition: no expert of this recipe asks the target.
    assert diary.check() == 2 * (len(STAGES) - 2)
    ours, theirs = (
        {artifact.fingerprint: artifact for artifact in Store(tmp_path / home / "store").artifacts()}
        for home in ("one", "other")
    )
    assert set(ours) == set(theirs)
    devices = {artifact.manifest.identity.get("device") for artifact in ours.values()}
    assert devices == {None, "cuda:Fake"}
