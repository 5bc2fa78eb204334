"""Fingerprints hold exactly what is declared."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faq_pipeline.store.fingerprint import LENGTH, file_digest, fingerprint, short_hash, tool_version

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
identities = st.dictionaries(st.text(max_size=5), values, max_size=4)
digests = st.dictionaries(st.sampled_from("abc"), st.text("0123456789abcdef", min_size=4), max_size=3)


def turned(value: Any) -> Any:
    """The same data with every mapping's keys in another order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(one) for one in value] if isinstance(value, list) else value


@given(identities, digests)
def test_the_order_of_keys_does_not_count(identity: dict[str, Any], inputs: dict[str, str]) -> None:
    key = fingerprint("stage", 1, identity, inputs)
    assert key == fingerprint("stage", 1, turned(identity), turned(inputs))
    assert len(key) == LENGTH and set(key) <= set("0123456789abcdef")


@given(identities, st.text(max_size=5), values, values)
def test_any_field_of_the_identity_counts(
    identity: dict[str, Any], field: str, one: object, other: object
) -> None:
    keys = {fingerprint("stage", 1, {**identity, field: value}, {}) for value in (one, other)}
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert len(keys) == (1 if same else 2)


def test_every_ingredient_counts() -> None:
    base = fingerprint("stage", 1, {"a": 1}, {"up": "d1"})
    others = [
        fingerprint("other", 1, {"a": 1}, {"up": "d1"}),
        fingerprint("stage", 2, {"a": 1}, {"up": "d1"}),
        fingerprint("stage", 1, {"a": 2}, {"up": "d1"}),
        fingerprint("stage", 1, {"b": 1}, {"up": "d1"}),
        fingerprint("stage", 1, {"a": 1, "b": None}, {"up": "d1"}),
        fingerprint("stage", 1, {"a": 1}, {"up": "d2"}),
        fingerprint("stage", 1, {"a": 1}, {"down": "d1"}),
        fingerprint("stage", 1, {"a": 1}, {}),
    ]
    assert len({base, *others}) == len(others) + 1


def test_what_is_no_data_is_refused() -> None:
    from pathlib import Path

    with pytest.raises(TypeError):
        fingerprint("stage", 1, {"path": Path("somewhere")}, {})


def test_known_hashes(tmp_path: Any) -> None:
    assert short_hash(b"") == "e3b0c44298fc1c149afb"
    (tmp_path / "file").write_bytes(b"abc")
    assert file_digest(tmp_path / "file").startswith("ba7816bf8f01cfea")


def test_tool_versions() -> None:
    assert tool_version("pyarrow")[0].isdigit()
    assert tool_version("no-such-package-anywhere") == "absent"
