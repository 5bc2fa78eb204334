"""A user's mistake is one exception, `FaqError`. Bugs stay ordinary exceptions, with their traceback."""

from faq_pipeline.errors.faq_error import (
    FaqError,
    MissingUpstreamError,
    nearest,
    nearest_and_known,
    nearest_of_many,
    nearest_or_known,
)
from faq_pipeline.errors.libraries import first_line, library_errors
from faq_pipeline.errors.system import (
    ReadError,
    as_system_error,
    disk_error,
    reading_file,
    system_error,
)

__all__ = [
    "FaqError",
    "MissingUpstreamError",
    "ReadError",
    "as_system_error",
    "disk_error",
    "first_line",
    "library_errors",
    "nearest",
    "nearest_and_known",
    "nearest_of_many",
    "nearest_or_known",
    "reading_file",
    "system_error",
]
