"""Fingerprints of every stage of every shipped cell, on a machine that is written down.

`python -m tests.identity.make` writes them to `fingerprints.json`, which `test_fingerprints` compares
with the code. The file was first written by the code of commit bd61d0c; its test says what moved since.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.resolver import resolve_cell
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.stage import DIVERGENCE
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.models.weights import Weights, find_weights
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.fingerprint import LENGTH, fingerprint
from tests.identity.machine import NATIVE_BF16, machine

FILE = Path(__file__).parent / "fingerprints.json"
FAMILIES = ("kin", "moss")
"""The families whose weights are shipped."""

Golden = dict[str, dict[str, str]]


def fingerprints(flags: str = NATIVE_BF16) -> Golden:
    """Fingerprints by stage and cell (`member|recipe`), and as `weights` the digests of the members.

    Upstream digests are hashes of the stages' names, and those of weights and tokenizers hashes of
    the members' names: what is pinned is how a fingerprint is formed, and not what is in the files.
    """
    found: Golden = {"weights": {}}
    with tempfile.TemporaryDirectory() as scratch, machine(flags):
        catalog = Catalog((REPOSITORY / "data",))
        for name in FAMILIES:
            for member in catalog.families[name].members:
                weights = find_weights(member, Path(scratch))
                found["weights"][member.name] = f"{weights.digest} {weights.tokenizer_digest}"
        for cell in _cells(catalog, Path(scratch)):
            key = f"{cell.target.name}|{cell.recipe.name}"
            for stage in (*STAGES.values(), DIVERGENCE):
                inputs = {upstream: _digest(upstream) for upstream in stage.inputs_for(cell)}
                own = fingerprint(stage.name, stage.version, stage.identity(cell), inputs)
                found.setdefault(stage.name, {})[key] = own
    return found


def _cells(catalog: Catalog, digests: Path) -> Iterator[Cell]:
    """Every cell that there is: the largest member has no teacher."""
    for family in FAMILIES:
        for member in catalog.families[family].members:
            for recipe in catalog.recipes.values():
                try:
                    cell = resolve_cell(catalog, member.name, as_at_first(recipe), "cpu", digests)
                except FaqError:
                    continue
                teacher = None if cell.teacher is None else _named(cell.teacher)
                yield replace(cell, target=_named(cell.target), teacher=teacher)


def as_at_first(recipe: Recipe) -> Recipe:
    """A shipped recipe with the settings of GPTQ that it had at commit bd61d0c; they moved since."""
    spec = recipe.quantization
    if spec.method != "gptq":
        return recipe
    order = None if spec.group_size == "channel" else "static"
    then = {"observer": "minmax", "actorder": order, "dampening": 0.01}
    return recipe.model_copy(update={"quantization": spec.model_copy(update=then)})


def _named(weights: Weights) -> Weights:
    """The same files under digests that are made of the member's name."""
    return replace(
        weights, digest=_digest(weights.name), tokenizer_digest=_digest(f"{weights.name} tokenizer")
    )


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:LENGTH]


def main() -> None:
    """Write the file."""
    FILE.write_text(json.dumps(fingerprints(), indent=0, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
