"""Installs vLLM's environment from its lock: `faq engines install vllm`.

Every package is pinned and every wheel's hash is checked. For the CPU build torch is either its CPU
wheel, where pip finds that (PyTorch's index or a wheel folder among pip's settings), or PyPI's CUDA
wheel with its libraries: vLLM's CPU build works beside both, and the second takes 4 GB more.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from faq_pipeline.errors import FaqError
from faq_pipeline.inference.environment.environment import (
    MARKER,
    Environment,
    folder_of,
    installed,
    what_is_wrong,
)
from faq_pipeline.inference.environment.lock import PYTHONS, Build, Lock, read_lock
from faq_pipeline.inference.environment.python_probe import clean_environment
from faq_pipeline.util.atomic_files import write_atomic

Say = Callable[[str], None]

_IMPORT = "import vllm, torch; print(vllm.__version__); print(torch.__version__)"
NEEDED = {"cpu": 6 * 2**30, "cuda": 20 * 2**30}
"""Bytes of disk that making an environment takes at most, downloads included."""


def install(build: Build, home: Path, say: Say = lambda _: None) -> Environment:
    """The environment of the build's lock; installed if it is missing or incomplete.

    A second process that wants it waits for the first.

    Raises:
        FaqError: this machine is none that the locks are for, or pip or the new environment fails.
    """
    _check_machine()
    lock = read_lock(build)
    folder = folder_of(home, lock)
    folder.parent.mkdir(parents=True, exist_ok=True)
    guard = FileLock(folder.with_suffix(".lock"))
    try:
        guard.acquire(timeout=0)
    except Timeout:
        say("another process is installing it; waiting")
        guard.acquire()
    with guard:
        if (found := installed(folder)) is not None:
            problem = what_is_wrong(folder, lock)
            if not problem:
                return found
            say(f"making it again: {problem}")
        return _make(folder, lock, say)


def _make(folder: Path, lock: Lock, say: Say) -> Environment:
    free = shutil.disk_usage(folder.parent).free
    if free < NEEDED[lock.build]:
        raise FaqError(
            f"{free / 2**30:.1f} GiB are free, and installing vLLM takes {NEEDED[lock.build] / 2**30:.0f}",
            hint="free some, or move FAQ_HOME",
            file=folder.parent,
        )
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    say(f"making {folder}")
    here = [] if find_spec("pip") is None else ["--without-pip"]  # ours serves it too
    _run([sys.executable, "-m", "venv", *here, str(folder)], "making a virtual environment")
    python = folder / "bin" / "python"
    say(f"installing vLLM {lock.version} ({lock.build} build, {len(lock.packages)} packages)")
    _install_torch(python, lock.torch, say)
    _pip_install(python, lock.path)
    say("importing it")
    version, torch = _run([str(python), "-c", _IMPORT], "importing vLLM").split()[-2:]
    # vLLM calls itself what it was built as; what the package is called is what the lock pins.
    marker = {"version": lock.version, "itself": version, "torch": torch, "build": lock.build}
    write_atomic(folder / MARKER, json.dumps(marker, indent=1))
    return Environment(python, lock.version, lock.build, torch)


def _install_torch(python: Path, locks: Sequence[Path], say: Say) -> None:
    for lock in locks:
        try:
            _pip_install(python, lock)
        except FaqError:
            if lock == locks[-1]:
                raise
            say("pip finds no locked CPU wheel of torch: taking PyPI's, with its CUDA libraries")
        else:
            break


def _pip_install(python: Path, lock: Path) -> None:
    ours = [sys.executable, "-m", "pip", "--python", str(python)]
    pip = [str(python), "-m", "pip"] if find_spec("pip") is None else ours
    options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
    _run(
        [*pip, "install", *options, "--only-binary=:all:", "-r", str(lock)],
        "pip install",
        "check pip's index: pip config list",
    )


def _run(command: list[str], what: str, hint: str = "") -> str:
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no message"]
        raise FaqError(f"{what} failed: {errors[0].removeprefix('ERROR: ')}", hint=hint)
    return done.stdout


def _check_machine() -> None:
    python, platform = f"{sys.version_info[0]}.{sys.version_info[1]}", sysconfig.get_platform()
    if platform != "linux-x86_64" or python not in PYTHONS:
        raise FaqError(
            f"vLLM is locked for Python {', '.join(PYTHONS)} on linux-x86_64; this is {python} on {platform}",
            hint="install vLLM yourself and name its python in FAQ_VLLM",
        )
