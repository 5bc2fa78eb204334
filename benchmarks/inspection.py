"""Memory and time of the inspection of a checkpoint on this CPU; no quantization by GPTQ is needed.

    python -m benchmarks.inspection FOLDER [--parameters 8000000000]

The model in FOLDER (of `benchmarks.gpu.shape`, say) is rounded to nearest, W4A16 in groups of 128, in a
process of its own. Its checkpoint is inspected in another one, which has imported the libraries before.
Printed are what the inspection found, its CPU time, and how much memory without a file behind it (Linux)
the process has before it and at most.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.blocks import Blocks, anonymous_bytes
from faq_pipeline.config.family import Member
from faq_pipeline.config.quantization import Quantization
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.quantization.inspection import inspect_checkpoint
from faq_pipeline.quantization.oneshot import quantize
from faq_pipeline.util.progress import SilentProgress


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parameters", type=int, default=8_000_000_000, help="what the model counts as")
    parser.add_argument("--scratch", type=Path, help="folder on a disk with room for the checkpoint")
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    member = Member(name="m", path=options.folder.resolve(), parameters=options.parameters)
    if options.within is not None:
        spec = Quantization(method="rtn", scheme="W4A16", group_size=128)
        target = find_weights(member, options.within / "digests")
        quantize(spec, target, [], options.within / "checkpoint", "cpu", SilentProgress())
        return
    with TemporaryDirectory(dir=options.scratch) as scratch:
        again = [sys.executable, "-m", "benchmarks.inspection", *sys.argv[1:], "--within", scratch]
        subprocess.run(again, check=True)
        _inspect(Path(scratch) / "checkpoint", find_weights(member, Path(scratch) / "digests"))


def _inspect(checkpoint: Path, target: Weights) -> None:
    for library in ("llmcompressor", "compressed_tensors.compressors", "transformers.modeling_utils"):
        importlib.import_module(library)
    before, watch, started = anonymous_bytes(), Blocks(), time.process_time()
    with watch.watching():
        found = inspect_checkpoint(checkpoint, target)
    print(found)
    print(
        f"{time.process_time() - started:.1f} s of CPU; anonymous memory {before / 1e9:.2f} GB before,"
        f" {watch.peak / 1e9:.2f} GB at most"
    )


if __name__ == "__main__":
    main()
