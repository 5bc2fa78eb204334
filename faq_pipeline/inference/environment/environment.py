"""Finds the Python environment of vLLM, which cannot share one with llmcompressor.

`faq engines install vllm` makes it under `<FAQ_HOME>/engines/vllm-<build>-<digest of the lock>`
(see `install`); `FAQ_VLLM` names a python, or a script that stands for one, of an environment that
a site made itself, of whatever version. This process never imports vLLM: it asks that python.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from faq_pipeline.errors import FaqError
from faq_pipeline.inference.environment.lock import DISTRIBUTIONS, Build, Lock, read_lock
from faq_pipeline.inference.environment.python_probe import ask
from faq_pipeline.models.device import choose_device
from faq_pipeline.settings import Settings
from faq_pipeline.util.files import ABSENT

VARIABLE = "FAQ_VLLM"
MARKER = "environment.json"
"""Written last: a folder without it is half-made, and not taken."""
INSTALL = "faq engines install vllm"
FOR_BYTES = ("VLLM_BATCH_INVARIANT", "VLLM_ATTENTION_BACKEND", "VLLM_USE_V2_MODEL_RUNNER")
"""vLLM's own variables that change what it samples."""


class AbsentEnvironmentError(FaqError):
    """No environment is installed."""


@dataclass(frozen=True)
class Environment:
    """A Python that runs vLLM.

    Attributes:
        version: of vLLM.
        torch: its torch's version.
        build: `cuda` or `cpu`.
    """

    python: Path
    version: str
    build: Build
    torch: str


def find_environment(device: str | None = None, *, settings: Settings | None = None) -> Environment:
    """The environment to use: the one `FAQ_VLLM` names, else the installed one of the lock.

    Args:
        device: which tells the build; what the settings choose where absent.

    Raises:
        FaqError: there is none, it is broken, or it is of another version than the lock.
    """
    if named := os.environ.get(VARIABLE):
        return adopted(named)
    settings = settings or Settings.from_environment()
    lock = read_lock(_build(device, settings))
    folder = folder_of(settings.home, lock)
    found = installed(folder)
    if found is None:
        raise _absent(settings.home, lock, folder)
    problem = what_is_wrong(folder, lock)
    if problem:
        raise FaqError(f"vLLM's environment is broken: {problem}", hint=f"run: {INSTALL}", file=folder)
    return found


def engine_identity(device: str) -> dict[str, Any]:
    """Fingerprint inputs of vLLM except the family's `serving`; vLLM is not started.

    From the environment that `FAQ_VLLM` names, else from the lock: the installed environment is
    of the lock or refused.
    """
    chosen = {name: os.environ[name] for name in FOR_BYTES if os.environ.get(name)}
    if named := os.environ.get(VARIABLE):
        environment = adopted(named)
        version, build, torch = environment.version, environment.build, environment.torch
    else:
        lock = read_lock("cuda" if device != "cpu" else "cpu")
        version, build = lock.version, lock.build
        torch = next(package.version for package in lock.packages if package.name == "torch")
    graphs = device != "cpu"
    return {"version": version, "build": build, "torch": torch.split("+")[0], "graphs": graphs, **chosen}


def folder_of(home: Path, lock: Lock) -> Path:
    """Where the environment of a lock is, or will be."""
    return home / "engines" / f"vllm-{lock.build}-{lock.digest[:12]}"


def installed(folder: Path) -> Environment | None:
    """A finished environment, as its marker tells; None where the marker is absent or damaged."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        version, build, torch = (str(marker[name]) for name in ("version", "build", "torch"))
    except (*ABSENT, ValueError, LookupError, TypeError, RecursionError):
        return None
    if build not in DISTRIBUTIONS:
        return None
    return Environment(folder / "bin" / "python", version, cast(Build, build), torch)


def environments(home: Path) -> Iterator[tuple[Path, Environment | None]]:
    """All folders of vLLM environments, with None for half-made ones."""
    for folder in sorted((home / "engines").glob("vllm-*/")):
        yield folder, installed(folder)


def what_is_wrong(folder: Path, lock: Lock) -> str:
    """How an environment differs from its lock, in one phrase; empty if it does not.

    Compares the installed packages' own records, which takes a fraction of a second.
    """
    try:
        asked = ask(folder / "bin" / "python")
    except FaqError as error:
        return error.problem
    for name, version in lock.pins({"python_full_version": asked["python"]}).items():
        found = asked["packages"].get(name)
        if found is None:
            return f"{name} is missing"
        if found.split("+")[0] != version.split("+")[0]:
            return f"{name} is {found} and not {version}"
    return ""


def adopted(named: str) -> Environment:
    """The environment that `FAQ_VLLM` names; its versions are asked once a process.

    Raises:
        FaqError: it does not run, or has no vLLM.
    """
    found = shutil.which(Path(named).expanduser())
    if found is None:
        raise FaqError(f"{VARIABLE} names {named!r}, which cannot be run", hint="name a python that has vLLM")
    return _adopted(Path(found).absolute())


@cache
def _adopted(python: Path) -> Environment:
    try:
        packages = ask(python)["packages"]
    except FaqError as error:
        raise FaqError(
            f"the environment that {VARIABLE} names is broken: {error.problem}",
            hint=f"name a python that has vLLM, or unset {VARIABLE} and run: {INSTALL}",
            file=python,
        ) from error
    for build, distribution in DISTRIBUTIONS.items():
        if version := packages.get(distribution):
            cpu = "cpu" in version or build == "cpu"
            return Environment(python, version, "cpu" if cpu else "cuda", packages.get("torch", "unknown"))
    raise FaqError(
        f"the environment that {VARIABLE} names has no vLLM",
        hint=f"install it there, or unset {VARIABLE} and run: {INSTALL}",
        file=python,
    )


def _build(device: str | None, settings: Settings) -> Build:
    return "cpu" if choose_device(device or settings.device) == "cpu" else "cuda"


def _absent(home: Path, lock: Lock, folder: Path) -> FaqError:
    others = {
        environment.version
        for _, environment in environments(home)
        if environment is not None and environment.build == lock.build
    }
    hint, where = f"run: {INSTALL}", folder if folder.exists() else None
    if others:
        have = ", ".join(sorted(others))
        what = "of an older lock" if others == {lock.version} else f"vLLM {have}"
        return FaqError(
            f"the installed environment is {what}, and vLLM {lock.version} of this lock is needed", hint=hint
        )
    if where is not None:
        cut = "vLLM's environment is half-made: its installation was cut off, or is under way"
        return FaqError(cut, hint=hint, file=where)
    return AbsentEnvironmentError(f"vLLM ({lock.build} build) is not installed", hint=hint)
