"""Error of a failed server: the most informative line and the last lines of its log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from faq_pipeline.errors import FaqError

_PREFIX = re.compile(r"^(\([^)]*pid=\d+\)\s*)?((ERROR|WARNING|INFO)\s[\d-]+\s[\d:]+\s\[[^\]]*\]\s*)?")
_ERROR = re.compile(r"^(\S+: error: .+|(\w+\.)*\w*(Error|Exception): .+|.+ died unexpectedly .+)")
_VAGUE = ("Engine core initialization failed", "Worker failed with error", "EngineDeadError")


class ServerFailedError(FaqError):
    """A server of ours could not be started, or died more often than it may.

    Attributes:
        lines: the last ones of its log; `str` shows them below the problem.
    """

    def __init__(self, problem: str, *, log: Path, lines: Sequence[str] = ()) -> None:
        super().__init__(problem, hint="the log tells more", file=log)
        self.lines = tuple(lines)

    def __str__(self) -> str:
        return "\n  | ".join([super().__str__(), *self.lines])


def telling_line(lines: Sequence[str]) -> str:
    """The log line that most likely tells why a server ended: the first that names an error.

    vLLM passes an error on from process to process; the first mention is the closest to its cause,
    unless it is one that only says that another process failed. One that ends in a colon tells it
    on the next line.
    """
    bare = [_PREFIX.sub("", line).strip() for line in lines]
    errors = [line for line in bare if _ERROR.match(line)]
    precise = [line for line in errors if not any(vague in line for vague in _VAGUE)]
    found = (precise or errors or [""])[0]
    follows = bare[bare.index(found) + 1 :] if found.endswith(":") else []
    return " ".join([found, *follows[:1]])
