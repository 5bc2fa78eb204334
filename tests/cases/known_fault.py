"""The mark of a fault that is known and not repaired yet."""

from __future__ import annotations

import pytest


def known_fault(reason: str, *escapes: type[Exception]) -> pytest.MarkDecorator:
    """A strict expected failure: who repairs the fault removes the mark.

    Only a failed assertion counts, or one of the exceptions that escape today (`escapes`), so that a
    mistake in the test itself still fails.
    """
    return pytest.mark.xfail(raises=(AssertionError, *escapes), strict=True, reason=reason)
