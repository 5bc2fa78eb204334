"""The folder of the lock files: one for all users of this host's GPUs."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from faq_pipeline.errors import FaqError

VARIABLE = "FAQ_LEASES"
DEFAULT = Path("/tmp/faq-gpu-leases")
"""Not in TMPDIR: a batch system gives each job one of its own, and the jobs would not meet."""
SHARED = 0o1777
"""Everybody may lock, and nobody may delete what is another's, as in /tmp itself."""


def lease_folder() -> Path:
    """The folder, created if it does not exist.

    Raises:
        FaqError: it cannot be made, or this user may not write to it.
    """
    folder = Path(os.environ.get(VARIABLE) or DEFAULT).expanduser().absolute()
    try:
        folder.mkdir(parents=True)
        folder.chmod(SHARED)  # `mkdir` would leave out what this user's umask says
    except FileExistsError:
        pass
    except OSError as error:
        raise FaqError(
            f"no folder for GPU leases can be made: {error.strerror}", hint=f"set {VARIABLE}", file=folder
        ) from error
    if not folder.is_dir():
        raise FaqError("the folder for GPU leases is a file", hint=f"set {VARIABLE}", file=folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise not_writable(folder)
    return folder


def not_writable(path: Path) -> FaqError:
    """The error for a folder or file of other users that this one cannot use."""
    owner = "another user"
    with suppress(OSError, KeyError):
        owner = path.owner()
    mode = "1777" if path.is_dir() else "666"
    return FaqError(
        f"GPU leases cannot be taken: this belongs to {owner}, and you may not write to it",
        hint=f"let {owner} chmod {mode} it, or set {VARIABLE} to a folder for all users of these GPUs",
        file=path,
    )
