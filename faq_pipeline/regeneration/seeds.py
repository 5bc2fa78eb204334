"""Seed samples: from the user's JSONL or a hub dataset, checked, then drawn balanced over domains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from faq_pipeline.config.json_objects import half_of_a_character
from faq_pipeline.config.jsonl import line_of, read_jsonl
from faq_pipeline.config.recipe import Dataset, Seeds
from faq_pipeline.errors import FaqError, library_errors
from faq_pipeline.store.fingerprint import file_digest
from faq_pipeline.store.records import Kind, Seed
from faq_pipeline.util.seeded_choice import draw_balanced

POOL = 8
"""Of a hub dataset, the first `POOL * count` usable rows are read, and the draw is made among them."""
LONGEST = 16_384
"""Characters. Longer rows of a hub dataset are passed over, and those cut inside of a character: the user
cannot fix them."""


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


NotEmpty = Annotated[str, AfterValidator(_not_empty)]


class SeedRow(BaseModel):
    """One line of a seed file. `source` defaults to the file's name."""

    model_config = ConfigDict(extra="forbid")

    id: NotEmpty
    text: NotEmpty
    kind: Kind
    answer: str | None = None
    domain: NotEmpty = "general"
    source: str | None = None
    licence: str = "unknown"


def load_seeds(path: Path, count: int) -> list[Seed]:
    """All seeds of a JSONL file, in file order.

    Args:
        count: how many the recipe wants at least.

    Raises:
        FaqError: names file, line and hint: no file, empty file, malformed JSON, missing or unknown
            key, wrong type, empty text, duplicate id, fewer rows than `count`.
    """
    seeds: dict[str, Seed] = {}
    lines: dict[str, int] = {}
    for line, row in read_jsonl(path, SeedRow):
        if row.id in seeds:
            raise FaqError(
                f"id {row.id!r} is already on line {lines[row.id]}",
                hint="ids are unique",
                file=path,
                line=line,
            )
        lines[row.id] = line
        fields = row.model_dump()
        seeds[row.id] = Seed(**{**fields, "source": row.source or path.name})
    if len(seeds) < count:
        raise FaqError(
            f"{len(seeds)} seeds, and the recipe wants {count}",
            hint="add seeds, or lower seeds.count in the recipe",
            file=path,
            line=max(lines.values()),
        )
    return list(seeds.values())


def load_dataset_seeds(dataset: Dataset, count: int) -> list[Seed]:
    """Seeds of kind `text` from the first rows of a hub dataset; ids are `<dataset>:<row index>`.

    Raises:
        FaqError: the dataset cannot be read, has no such column, or has too few usable rows.
    """
    import datasets

    with _dataset_errors(dataset):
        rows = datasets.load_dataset(
            dataset.name,
            dataset.config,
            split=dataset.split,
            revision=dataset.revision,
            streaming=True,
        )
    seeds = list(islice(_usable(each_row(rows, _dataset_errors(dataset)), dataset), POOL * count))
    if len(seeds) < count:
        raise FaqError(
            f"dataset {dataset.name!r} has {len(seeds)} usable rows, and the recipe wants {count}",
            hint="lower seeds.count in the recipe",
        )
    return seeds


def _dataset_errors(dataset: Dataset) -> library_errors:
    hint = "check seeds.dataset and the network, or use seeds.path"
    return library_errors(f"dataset {dataset.name!r} cannot be read", file=None, hint=hint)


def each_row(rows: Iterable[dict[str, Any]], reading: library_errors) -> Iterator[dict[str, Any]]:
    """The rows of a hub dataset, which are read one by one; `reading` tells what goes wrong meanwhile."""
    left = iter(rows)
    while True:
        with reading:
            row = next(left, None)
        if row is None:
            return
        yield row


def _usable(rows: Iterable[dict[str, Any]], dataset: Dataset) -> Iterable[Seed]:
    for index, row in enumerate(rows):
        text = row.get(dataset.text)
        if not isinstance(text, str):
            raise FaqError(
                f"dataset {dataset.name!r} has no text in column {dataset.text!r}",
                hint=f"set seeds.dataset.text; columns: {', '.join(sorted(row))}",
            )
        if text.strip() and len(text) <= LONGEST and not half_of_a_character(text):
            yield Seed(
                id=f"{dataset.name}:{index}",
                text=text,
                kind="text",
                answer=None,
                domain="general",
                source=dataset.name,
                licence=dataset.licence,
            )


def draw_seeds(seeds: Sequence[Seed], count: int, draw: int) -> list[Seed]:
    """`count` seeds, balanced over domains; independent of the order of `seeds` (`draw_balanced`)."""
    return draw_balanced(seeds, count, draw, id_of=lambda seed: seed.id, domain_of=lambda seed: seed.domain)


def seeds_identity(seeds: Seeds) -> dict[str, Any]:
    """What the seeds are, as JSON-able data: the file's name and digest, or the dataset's pin.

    Raises:
        FaqError: the seed file is missing.
    """
    if seeds.dataset is not None:
        return {"dataset": seeds.dataset.model_dump(), "count": seeds.count}
    assert seeds.path is not None
    if not seeds.path.is_file():
        raise FaqError(
            "no such seed file", hint="check the recipe's seeds.path", file=seeds.path, key="seeds.path"
        )
    # The name is there because it is the default of `source`.
    return {"file": seeds.path.name, "digest": file_digest(seeds.path), "count": seeds.count}


def seed_error(seeds: Seeds, seed: Seed, problem: str, hint: str) -> FaqError:
    """An error about one seed that was drawn, with the seed file's line."""
    if seeds.path is None:
        return FaqError(f"seed {seed.id!r} {problem}", hint=hint)
    line = line_of(seeds.path, seed.id)
    return FaqError(f"seed {seed.id!r} {problem}", hint=hint, file=seeds.path, line=line)
