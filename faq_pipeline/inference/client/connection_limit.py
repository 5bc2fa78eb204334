"""Number of connections that this process may open: each request in flight needs a file descriptor."""

from __future__ import annotations

import resource

OTHERS = 256
"""Open files that the rest of the process may need."""


def sockets_for(most: int) -> int:
    """How many of `most` connections this process may hold, after asking for more where it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - OTHERS))
