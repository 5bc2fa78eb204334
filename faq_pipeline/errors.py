"""The one exception a user's mistake becomes. Bugs stay ordinary exceptions, with their traceback."""

from __future__ import annotations

from pathlib import Path


class FaqError(Exception):
    """Bad input: one line that names where it is, what is wrong and how to mend it.

    The CLI prints it without a traceback and exits with 2.
    """

    def __init__(
        self,
        problem: str,
        *,
        mend: str = "",
        file: Path | str | None = None,
        line: int | None = None,
        key: str = "",
    ) -> None:
        """
        Args:
            key: the recipe's key whose value is at fault, as `quantization.scheme`; who knows the
                recipe's files adds file and line, see `Catalog.blaming`.
        """
        self.problem, self.mend, self.file, self.line, self.key = problem, mend, file, line, key
        self.where = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        super().__init__(self.where + problem + (f" ({mend})" if mend else ""))


class MissingUpstreamError(FaqError):
    """A stage was asked for whose input has not been made yet."""
