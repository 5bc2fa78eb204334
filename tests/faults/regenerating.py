"""A process that makes the regenerated corpus of tiny-s, for tests that kill it.

`python -m tests.faults.regenerating DATA STORE RECIPE` prints the corpus's digest.
"""

from __future__ import annotations

import sys
from pathlib import Path

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import materialize
from faq_pipeline.store.store import Store


def regenerate(data: Path, store: Store, recipe: str) -> str:
    """The digest of the corpus, which is made if need be."""
    catalog = Catalog((data,))
    cell = resolve_cell(catalog, "tiny-s", catalog.recipe(recipe), "cpu", store.root.parent / "digests")
    materialize("seed_data", cell, STAGES, store)
    return materialize("regenerated_corpus", cell, STAGES, store).artifact.digest


if __name__ == "__main__":
    print(regenerate(Path(sys.argv[1]), Store(Path(sys.argv[2])), sys.argv[3]))
