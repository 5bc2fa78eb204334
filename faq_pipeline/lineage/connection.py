"""Short-lived connections to the index. DuckDB allows one writing process or several readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.lineage.merged import forget
from faq_pipeline.util.files import stat_or_none

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LOCKED = ("Could not set lock on file", "being used by another process")
"""DuckDB has no error class of its own for this."""
PATIENCE = 0.5
"""Seconds to wait for a locked index."""


class BusyError(Exception):
    """Another process or thread holds the index."""


class UnreadableError(Exception):
    """What DuckDB says, in one line: the file cannot be read or written, or is no index."""


@contextmanager
def connection(path: Path, *, read_only: bool, patience: float = PATIENCE) -> Iterator[DuckDBPyConnection]:
    """A connection that is closed whatever happens.

    Raises:
        BusyError: still locked after `patience` seconds.
        UnreadableError: not a database, or one of another DuckDB; or DuckDB raised in the block.
    """
    import duckdb

    again = Retrying(
        retry=retry_if_exception_type(BusyError),
        stop=stop_after_delay(patience),
        wait=wait_fixed(0.05),
        reraise=True,
    )
    con = again(_open, path, read_only)
    try:
        yield con
    except duckdb.Error as error:
        raise UnreadableError(_first_line(error)) from error
    finally:
        with suppress(duckdb.Error):  # a damaged block may be found as late as here
            con.close()


@contextmanager
def reading(source: Path | str | DuckDBPyConnection) -> Iterator[DuckDBPyConnection]:
    """A connection to read from: `source` itself if it is one, else its file, read-only.

    An index that cannot be read is rebuilt by the next merge.

    Raises:
        FaqError: there is no index, it is locked, or it must be rebuilt.
    """
    if not isinstance(source, (str, Path)):
        yield source
        return
    path = Path(source)
    with reading_file(path):
        there = stat_or_none(path)
    if there is None:
        raise FaqError("no lineage index here", hint="faq run, or faq lineage rebuild", file=path)
    try:
        with connection(path, read_only=True, patience=2 * PATIENCE) as con:
            yield con
    except BusyError as busy:
        raise FaqError(f"the lineage index is in use: {busy}", hint="try again", file=path) from None
    except UnreadableError as error:
        forget(path)
        raise FaqError(
            f"the lineage index cannot be read: {error}", hint="faq lineage rebuild", file=path
        ) from None


def _open(path: Path, read_only: bool) -> DuckDBPyConnection:
    import duckdb

    try:
        return duckdb.connect(str(path), read_only=read_only)
    except duckdb.ConnectionException as error:
        # A thread of this very process holds it in the other mode.
        raise BusyError(str(error)) from error
    except duckdb.Error as error:
        if any(words in str(error) for words in _LOCKED):
            raise BusyError(_holder(str(error))) from error
        raise UnreadableError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _holder(message: str) -> str:
    """Who holds the lock, as DuckDB's error message says; empty if it does not say."""
    _, mark, holder = message.partition("Conflicting lock is ")
    return holder.partition(". See")[0] if mark else message
