"""Every flipped bit of an artifact is found, in its manifest and in its files."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.store.artifact import MANIFEST, Artifact
from faq_pipeline.store.fingerprint import fingerprint
from faq_pipeline.store.store import Key, Store
from tests.faults.table import FaultTable

FLIPS = {MANIFEST: 6_000, "rows.parquet": 2_000, "checkpoint/config.json": 1_000}
"""Seeded, 9,000 in all."""


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    def build(folder: Path) -> dict[str, Any]:
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint/config.json").write_text('{"hidden_size": 128}\n')
        (folder / "rows.parquet").write_bytes(random.Random(0).randbytes(2_000))
        return {"recovery": {"value": 0.9412, "low": 0.91, "high": None}, "notes": ["größer als 1"]}

    identity, inputs = {"scheme": "W4A16", "group": 128}, {"calibration_set": "d" * 20}
    name = fingerprint("toy", 3, identity, inputs)
    key = Key("toy", 3, name, identity, inputs, {"calibration_set": "f" * 20})
    return Store(tmp_path / "store").produce(key, build)[0]


@pytest.mark.parametrize("name", FLIPS)
def test_every_flipped_bit_is_found(artifact: Artifact, name: str, fault_table: FaultTable) -> None:
    """Any bit of the file: `verify` reports it, and nothing once it is put back."""
    store, path = Store(artifact.path.parent.parent), artifact.file(name)
    whole = path.read_bytes()
    bits = random.Random(1).choices(range(8 * len(whole)), k=FLIPS[name])
    unseen = []
    for bit in bits:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        if not store.verify(Artifact(artifact.path)):
            unseen.append(bit)
    fault_table.add("flipped bits of an artifact", len(bits), len(bits) - len(unseen))
    assert unseen == []
    path.write_bytes(whole)
    assert store.verify(Artifact(artifact.path)) == []
