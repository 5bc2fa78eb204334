"""What discovered members are called."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path


def member_name(source: str, taken: Collection[str]) -> str:
    """The name of a repository or folder in lower case, or a longer one where that is taken.

    Args:
        source: `owner/name` on a hub, or the path of a folder.
        taken: names of all other members of all families.
    """
    owner, name = Path(source).parent.name, Path(source).name
    short = _valid(name)
    if short not in taken:
        return short
    long = _valid(f"{owner}-{name}")
    numbered = (f"{long}-{number}" for number in range(2, len(taken) + 3))
    return next(wanted for wanted in (long, *numbered) if wanted not in taken)


def _valid(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).lstrip("._-") or "member"
