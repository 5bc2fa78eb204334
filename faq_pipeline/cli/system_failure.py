"""Failures of the system (its disks, files and databases) that a command ends with, as one line."""

from __future__ import annotations

import os
import sqlite3
import sys

from faq_pipeline.errors import FaqError, as_system_error, first_line, system_error


def system_failure(error: Exception) -> FaqError | None:
    """What the system said, as one line; None for an error of another kind, which may be a bug."""
    if (said := as_system_error(error)) is not None:
        return system_error(said)
    if (cause := _of_database(error)) is not None:
        return FaqError(
            f"Dagster's database cannot be used: {first_line(cause)}",
            hint="is its disk full, read-only or gone? what is finished is kept; run again",
            file=os.environ.get("DAGSTER_HOME"),  # set by the command itself
        )
    return None


def _of_database(error: Exception) -> BaseException | None:
    """The database's own error, where there is one; SQLAlchemy wraps it."""
    if isinstance(error, sqlite3.OperationalError):
        return error
    if "sqlalchemy" not in sys.modules:
        return None
    from sqlalchemy.exc import DBAPIError

    return error.orig if isinstance(error, DBAPIError) else None
