"""The seeds of a recipe: a file of the user's, a data set on the hub, or a preset, in our own form."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.errors import FaqError
from faq_pipeline.quickstart.hub_dataset import HubDataset, fetch_dataset, kept_rows, parse_dataset
from faq_pipeline.quickstart.model_source import HUB_ID, ModelSource
from faq_pipeline.quickstart.seed_conversion import Converted, Refused
from faq_pipeline.quickstart.seed_files import is_seed_file, read_seed_file, seed_lines
from faq_pipeline.quickstart.seed_forms import OURS
from faq_pipeline.quickstart.seed_presets import DEFAULT, Preset, seed_presets
from faq_pipeline.quickstart.written_files import WrittenFiles
from faq_pipeline.regeneration.seeds import load_seeds
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.store.records import Seed

DEVELOPMENT = REPOSITORY / "data/eval/general/development.jsonl"
LEAST_PROMPTS = 8
SHOWN = 5
"""Refused rows that are named; the rest are counted."""
SHARE = 4
"""A seed may take one part in so many of the context: prompt, reply and template need the rest."""


@dataclass(frozen=True)
class SeedFile:
    """A seed file for a recipe.

    Attributes:
        count: seeds that are drawn of it.
        tokens: that these take as they are, about: the mean of all times the count.
        notes: what the user should know, with the rows that were refused.
        origin: where they are from, for the comments of the recipe; empty for a file of the user's.
    """

    path: Path
    count: int
    tokens: int
    notes: tuple[str, ...]
    origin: str = ""


@dataclass(frozen=True)
class _Found:
    """What was read.

    Attributes:
        shown: what it is, for the user.
        place: what the lines of refused rows are lines of.
        name: of the converted file.
        file: where it lies; None for a data set.
        ours: whether the user cannot mend its rows.
        notes: what the user should know besides.
    """

    converted: Converted
    shown: str
    place: str
    name: str
    file: Path | None = None
    ours: bool = False
    notes: tuple[str, ...] = ()
    origin: str = ""


def find_seeds(
    named: str | None,
    target: ModelSource,
    data: Path,
    home: Path,
    most: int,
    context: int,
    record: WrittenFiles,
) -> SeedFile:
    """The seed file that a user names, in whatever known form, a data set on the hub, or a preset.

    A file in our own form whose rows are all usable is used where it lies. Another, and what is read of a
    data set, is converted into `data/seeds`, under a name that tells its content.

    Args:
        home: where what was read of data sets is kept.
        most: seeds that are drawn.
        context: seeds that leave no room for a reply in it are refused.

    Raises:
        FaqError: no such file, data set or preset, or nothing usable in it.
    """
    found = _read(named or DEFAULT, home)
    kept, lengths, long = _fitting(found.converted, target, context // SHARE)
    if not kept:
        raise FaqError(
            f"no seed fits a quarter of the context of {target.named} ({context} tokens)", file=found.place
        )
    refused = [*found.converted.refused, *long]
    if found.file is not None and _is_usable(found.file, found.converted, refused):
        made = found.file
    else:
        text = seed_lines(kept)
        made = data / "seeds" / f"{found.name}-{short_hash(text.encode())[:8]}.jsonl"
        record.write(made, text)
    count = min(len(kept), most)
    notes = _notes(found, kept, count, refused, unnamed=named is None)
    return SeedFile(made, count, sum(lengths) * count // len(kept), notes, found.origin)


def _read(named: str, home: Path) -> _Found:
    path = Path(named).expanduser()
    if path.exists():
        return _in_file(path.resolve())
    presets = seed_presets()
    if (preset := presets.get(named)) is not None:
        return _in_preset(named, preset, home)
    if HUB_ID.fullmatch(named.partition(",")[0]) and not is_seed_file(path):
        return _on_hub(parse_dataset(named), home)
    if not path.suffix:
        known = ", ".join(presets)
        raise FaqError(
            f"no seed file {named!r}", hint=f"a path, a hub data set OWNER/NAME, or a preset: {known}"
        )
    return _in_file(path.resolve())


def _in_file(path: Path) -> _Found:
    found = read_seed_file(path)
    return _Found(found, f"{path.name} ({found.form})", str(path), path.name.partition(".")[0], path)


def _in_preset(name: str, preset: Preset, home: Path) -> _Found:
    if preset.dataset is not None:
        return _on_hub(preset.dataset, home, name, preset)
    assert preset.path is not None
    found = read_seed_file(preset.path)
    return _Found(found, f"preset {name!r}", str(preset.path), preset.path.stem, preset.path, ours=True)


def _on_hub(dataset: HubDataset, home: Path, name: str = "", preset: Preset | None = None) -> _Found:
    read = fetch_dataset(dataset, home)
    source = f"{dataset.name}, {read.split}, commit {read.revision[:8]}"
    licence = f"licence {'not stated' if read.licence == 'unknown' else read.licence}"
    notes = [f"read of the hub: {kept_rows(dataset, home)}; move it away to read it anew"]
    if preset is not None and read.licence.lower() != preset.licence.lower():
        notes.append(f"when the preset was written, the licence of {dataset.name} was {preset.licence}")
    return _Found(
        read.found,
        f"{f'preset {name!r}: ' if name else ''}{source}, {licence} ({read.found.form})",
        f"{dataset.name}, {read.split}",
        dataset.name.partition("/")[2],
        notes=tuple(notes),
        origin=f"They are from the hub's data set {dataset.name}, {read.split}, commit {read.revision}.",
    )


def _is_usable(file: Path, found: Converted, refused: list[Refused]) -> bool:
    """Whether a file can be used where it lies: its ids are unique texts, and all else is as it must be."""
    if found.form != OURS.name or refused or file.suffix != ".jsonl":
        return False
    try:
        return bool(load_seeds(file, 1))
    except FaqError as error:
        if error.problem.startswith("unknown key"):  # mistyped: a converted copy would lose what it holds
            raise
        return False


def _fitting(found: Converted, target: ModelSource, most: int) -> tuple[list[Seed], list[int], list[Refused]]:
    """The seeds of at most so many tokens, their lengths with their answers, and the others."""
    texts = [f"{seed.text}\n{seed.answer}" if seed.answer else seed.text for seed in found.seeds]
    kept, lengths, long = [], [], []
    for seed, count in zip(found.seeds, token_counts(target, texts), strict=True):
        if count <= most:
            kept.append(seed)
            lengths.append(count)
        else:
            reason = f"{count} tokens, and at most {most} leave room for a reply"
            long.append(Refused(found.lines[seed.id], reason))
    return kept, lengths, long


def token_counts(target: ModelSource, texts: list[str]) -> list[int]:
    """The length of each text in the target's tokens."""
    from faq_pipeline.models.loading import load_tokenizer

    tokenizer = load_tokenizer(target.facts.weights)
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]


def find_development(target: ModelSource, data: Path, context: int, record: WrittenFiles) -> Path:
    """The shipped development prompts; for a model of a small context a copy of those that fit it.

    Raises:
        FaqError: too few fit.
    """
    rows = DEVELOPMENT.read_text(encoding="utf-8").splitlines()
    counts = token_counts(target, [json.loads(row)["question"] for row in rows])
    kept = [row for row, count in zip(rows, counts, strict=True) if count <= context // SHARE]
    if len(kept) == len(rows):
        return DEVELOPMENT
    if len(kept) < LEAST_PROMPTS:
        raise FaqError(f"the context of {target.named}, {context} tokens, is too short for our prompts")
    text = "\n".join([*kept, ""])
    path = data / "eval" / f"development-{short_hash(text.encode())[:8]}.jsonl"
    record.write(path, text)
    return path


def _notes(
    found: _Found, kept: list[Seed], count: int, refused: list[Refused], *, unnamed: bool
) -> tuple[str, ...]:
    drawn = "" if count == len(kept) else f", of which {count} are drawn"
    domains = len({seed.domain for seed in kept})
    lines = [f"seeds: {found.shown}: {len(kept)} prompts of {domains} domain{'s' * (domains > 1)}{drawn}"]
    lines += found.notes
    if unnamed:
        lines.append(
            "--seeds FILE takes prompts of your own: what the model will be used with serves it best"
        )
    if found.ours:
        return (
            (*lines, f"{len(refused)} more of it are too long for this context") if refused else tuple(lines)
        )
    for row in _shown(refused):
        lines.append(f"{found.place}:{row.line}: refused: {row.reason}")
    if (more := len(refused) - SHOWN) > 0:
        lines.append(f"{found.place}: {more} more row{'s' * (more > 1)} refused")
    return tuple(lines)


def _shown(refused: Sequence[Refused]) -> list[Refused]:
    """The refused rows to print, by line. Rare reasons first: many duplicates do not hide a broken line."""

    def kind(row: Refused) -> str:
        return re.sub(r"\d+", "", row.reason.partition(":")[0])

    of_kind = Counter(map(kind, refused))
    rarest = sorted(refused, key=lambda row: (of_kind[kind(row)], row.line))[:SHOWN]
    return sorted(rarest, key=lambda row: row.line)
