"""vLLM's environment: told apart as absent, half-made, broken, of another lock, or the site's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from faq_pipeline.errors import FaqError
from faq_pipeline.inference.environment.environment import (
    AbsentEnvironmentError,
    engine_identity,
    environments,
    find_environment,
    folder_of,
)
from faq_pipeline.inference.environment.lock import FOLDER, PYTHONS, parse_lock, read_lock
from faq_pipeline.settings import Settings
from tests.inference.stub_vllm import make_stub

ANSWER = """\
#!{python}
import json, sys
print(json.dumps({{"python": "3.11.7", "packages": {packages}}}))
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAQ_HOME", str(tmp_path))
    monkeypatch.setenv("FAQ_DEVICE", "cpu")
    monkeypatch.delenv("FAQ_VLLM", raising=False)
    return tmp_path


def make_installed(home: Path, *, marker: bool = True, **other: str) -> Path:
    """An environment whose python tells of the lock's packages, but for what `other` says."""
    lock = read_lock("cpu")
    folder = folder_of(home, lock)
    packages = lock.pins({"python_full_version": "3.11.7"}) | other
    packages = {name: version for name, version in packages.items() if version}
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin/python"
    python.write_text(ANSWER.format(python=sys.executable, packages=packages))
    python.chmod(0o755)
    if marker:
        content = {"version": lock.version, "build": "cpu", "torch": "2.13.0+cpu"}
        (folder / "environment.json").write_text(json.dumps(content))
    return folder


def test_absent() -> None:
    with pytest.raises(AbsentEnvironmentError, match=r"not installed \(run: faq engines install vllm\)"):
        find_environment()


def test_installed(home: Path) -> None:
    folder = make_installed(home)
    found = find_environment()
    assert (found.python, found.version, found.build) == (folder / "bin/python", "0.32.0", "cpu")


def test_half_made_is_not_taken(home: Path) -> None:
    make_installed(home, marker=False)
    with pytest.raises(FaqError, match=r"half-made.*faq engines install vllm"):
        find_environment()


def test_another_lock_is_not_taken(home: Path) -> None:
    folder = make_installed(home)
    folder.rename(folder.with_name("vllm-cpu-0123456789ab"))
    with pytest.raises(FaqError, match=r"of an older lock.*0\.32\.0.*faq engines install vllm"):
        find_environment()


def test_a_missing_package_is_broken(home: Path) -> None:
    make_installed(home, msgspec="")
    with pytest.raises(FaqError, match=r"broken: msgspec is missing.*faq engines install vllm"):
        find_environment()


def test_another_version_is_broken(home: Path) -> None:
    make_installed(home, **{"vllm-cpu": "0.31.0"})
    with pytest.raises(FaqError, match=r"vllm-cpu is 0\.31\.0 and not 0\.32\.0"):
        find_environment()


def test_a_python_that_fails_is_broken(home: Path) -> None:
    folder = make_installed(home)
    (folder / "bin/python").write_text("#!/bin/sh\necho 'no libpython' >&2\nexit 127\n")
    with pytest.raises(FaqError, match="broken: its python does not run: no libpython"):
        find_environment()
    (folder / "bin/python").unlink()
    with pytest.raises(FaqError, match="broken: its python does not run"):
        find_environment()


def test_the_gpu_wants_the_other_build(home: Path) -> None:
    make_installed(home)
    assert engine_identity("cuda")["build"] == "cuda"
    assert engine_identity("cpu")["build"] == "cpu"
    assert [environment.build for _, environment in environments(home) if environment] == ["cpu"]


def test_identity_is_the_locks(home: Path) -> None:
    assert engine_identity("cpu") == {"version": "0.32.0", "build": "cpu", "torch": "2.13.0", "graphs": False}


def test_identity_has_what_changes_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    assert engine_identity("cpu")["VLLM_BATCH_INVARIANT"] == "1"


def test_a_sites_own_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = make_stub(tmp_path / "site", version="0.24.0")
    monkeypatch.setenv("FAQ_VLLM", str(script))
    found = find_environment("cuda")
    assert (found.python, found.version, found.build) == (script, "0.24.0", "cuda")
    assert engine_identity("cuda") == {"version": "0.24.0", "build": "cuda", "torch": "2.0.0", "graphs": True}


def test_a_cpu_build_of_a_site_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAQ_VLLM", str(make_stub(tmp_path / "site", distribution="vllm_cpu")))
    assert find_environment().build == "cpu"


@pytest.mark.parametrize(
    ("named", "problem"),
    [("/nowhere/python", "cannot be run"), ("/bin/false", "broken"), (sys.executable, "has no vLLM")],
)
def test_what_is_no_environment_is_not_adopted(
    monkeypatch: pytest.MonkeyPatch, named: str, problem: str
) -> None:
    monkeypatch.setenv("FAQ_VLLM", named)
    with pytest.raises(FaqError, match=f"FAQ_VLLM.*{problem}"):
        find_environment()
    with pytest.raises(FaqError, match="FAQ_VLLM"):
        engine_identity("cpu")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_every_line_of_a_lock_is_pinned_and_hashed(path: Path) -> None:
    packages = parse_lock(path.read_text())
    pins = [(package.name, str(package.requirement.marker)) for package in packages]
    assert len(pins) == len(set(pins)) > 0
    assert all(package.version for package in packages)
    assert "://" not in path.read_text()


@pytest.mark.parametrize("line", ["torch", "torch>=2 --hash=sha256:" + "0" * 64, "torch==2.13.0"])
def test_a_line_that_is_not_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not pinned and hashed"):
        parse_lock(line)


@pytest.mark.parametrize("build", ["cuda", "cpu"])
@pytest.mark.parametrize("python", PYTHONS)
def test_a_lock_has_vllm_and_the_tokenizers_of_here(build: str, python: str) -> None:
    from importlib.metadata import version

    pins = read_lock(build).pins({"python_full_version": f"{python}.1"})  # type: ignore[arg-type]
    assert read_lock(build).version == "0.32.0"  # type: ignore[arg-type]
    assert pins["torch"].split("+")[0] == "2.13.0"
    assert pins["transformers"] == version("transformers")
    assert pins["compressed-tensors"] != version("compressed-tensors")  # why they are apart


def test_settings_tell_the_place(home: Path) -> None:
    assert folder_of(Settings.from_environment().home, read_lock("cpu")).parent == home / "engines"


@pytest.mark.parametrize(
    "left", [b"", b"{", b"[]", b"\xff", b'{"version": "0.32.0"}', b"[" * 100_000], ids=len
)
def test_a_damaged_marker_counts_as_none(home: Path, left: bytes) -> None:
    folder = make_installed(home)
    (folder / "environment.json").write_bytes(left)
    assert list(environments(home)) == [(folder, None)]
    with pytest.raises(FaqError, match="half-made"):
        find_environment()
