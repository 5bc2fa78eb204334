"""JSON objects on one line that protect themselves.

The first key is a checksum of all that follows it, so that no changed object is taken for the one that
was written. Earlier versions, which wrote none, read these objects too and ignore the key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from faq_pipeline.store.fingerprint import LENGTH, short_hash

_CHECKSUM = re.compile(rb'\{"checksum": "([0-9a-f]{%d})", ' % LENGTH)


def written(content: Mapping[str, Any]) -> bytes:
    """An object that is not empty, as a line with its checksum."""
    body = json.dumps(content).encode()[1:]
    return b'{"checksum": "%b", %b\n' % (short_hash(body).encode(), body)


def checked(line: bytes) -> tuple[bytes, bool]:
    """The object's JSON without its checksum, and whether it had one.

    Where it had none it is an earlier version's, or damaged: a key that is not known tells.

    Raises:
        ValueError: it is not as it was written.
    """
    text = line.rstrip(b"\r\n")
    head = _CHECKSUM.match(text)
    if head is None:
        return text, False
    body = text[head.end() :]
    if head[1].decode() != short_hash(body):
        raise ValueError("differs from its checksum")
    return b"{" + body, True
