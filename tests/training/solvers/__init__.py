"""A second opinion: each solver reads a question as a person would and works the answer out.

Nothing here looks at how `training` makes its questions.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.training.solvers import kin, moss

SOLVERS: dict[str, dict[str, Callable[[str], str]]] = {"kin": kin.SOLVERS, "moss": moss.SOLVERS}
"""By family and task."""
