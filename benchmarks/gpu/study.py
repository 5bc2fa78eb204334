"""`faq study run` on one GPU and on two, for as many minutes each.

    python -m benchmarks.gpu.study FOLDER [--minutes 2] [--devices cuda:0,cuda] [--out FILE]

The study is the repository's `smoke` with two members and more draws, so that neither arm comes to its
end; each arm has a home of its own in FOLDER and begins with nothing. Told are the cells and the artifacts
that each has made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.store import Store

BASE = REPOSITORY / "data/studies/smoke.yaml"
MEMBERS = ["kin-2m", "kin-4m"]
DRAWS = list(range(200, 240))


def main() -> None:
    """Run the arms, print and write."""
    options = _options()
    folder: Path = options.folder.absolute()
    (folder / "data/studies").mkdir(parents=True, exist_ok=True)
    study = yaml.safe_load(BASE.read_text())
    study |= {"name": "spread", "title": "Smoke, with more cells", "draws": DRAWS}
    study["families"]["kin"]["members"] = MEMBERS
    (folder / "data/studies/spread.yaml").write_text(yaml.safe_dump(study))
    result: dict[str, Any] = {}
    for number, device in enumerate(options.devices.split(";")):
        result[device] = _run(folder, number, device, options)
        print(f"{device}: {json.dumps(result[device])}", flush=True)
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    first, *_, last = [*result.values(), *result.values()]
    for name in ("cells", "artifacts"):
        if first[name]:
            print(f"{name}, last over first: {last[name] / first[name]:.2f}", flush=True)


def _run(folder: Path, number: int, device: str, options: argparse.Namespace) -> dict[str, Any]:
    home = folder / f"home-{number}"
    environment = {**os.environ, "FAQ_HOME": str(home), "FAQ_DATA": str(folder / "data")}
    command = [
        *(sys.executable, "-m", "faq_pipeline", "study", "run", "spread"),
        "--device",
        device,
        "--json",
    ]
    command += ["--minutes", str(options.minutes), "--workers", str(options.workers)]
    started = time.monotonic()
    with (folder / f"study-{number}.log").open("w") as log:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    told = json.loads(done.stdout) if done.stdout.strip() else {}
    made = [artifact.manifest.stage for artifact in Store(home / "store").artifacts()]
    return {
        "exit_code": done.returncode,
        "seconds": round(time.monotonic() - started, 1),
        "cells": told.get("made", 0),
        "failed": len(told.get("failed", {})),
        "artifacts": len(made),
        "by_stage": {stage: made.count(stage) for stage in sorted(set(made))},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--devices", default="cuda:0;cuda", help="one a run, separated by semicolons")
    parser.add_argument("--workers", type=int, default=0, help="0: two a GPU")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
