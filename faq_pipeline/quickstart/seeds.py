"""The seeds of a recipe: a file of the user's, converted where it is not ours, or the shipped preset."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.errors import FaqError
from faq_pipeline.quickstart.model_source import ModelSource
from faq_pipeline.quickstart.seed_files import read_seed_file, seed_lines
from faq_pipeline.quickstart.seed_forms import OURS, Converted, Refused
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.store.records import Seed
from faq_pipeline.util.atomic_files import make_folder, write_atomic

DEVELOPMENT = REPOSITORY / "data/eval/general/development.jsonl"
LEAST_PROMPTS = 8
PRESETS = {"general": REPOSITORY / "data/seeds/general.jsonl"}
DEFAULT = "general"
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
    """

    path: Path
    count: int
    tokens: int
    notes: tuple[str, ...]


def find_seeds(named: str | None, target: ModelSource, data: Path, most: int, context: int) -> SeedFile:
    """The seed file that a user names, in whatever known form, or a preset; the general one by default.

    A file in our own form whose rows are all usable is used where it lies. Another is converted into
    `data/seeds`, under a name that tells its content.

    Args:
        most: seeds that are drawn.
        context: seeds that leave no room for a reply in it are refused.

    Raises:
        FaqError: no such file or preset, or nothing usable in it.
    """
    path = Path(named or DEFAULT).expanduser()
    preset = None if path.exists() else PRESETS.get(str(named or DEFAULT))
    if preset is None and not path.exists() and not path.suffix:
        raise FaqError(f"no seed file {named!r}", hint=f"a path, or a preset: {', '.join(PRESETS)}")
    source = (preset or path).resolve()
    found = read_seed_file(source)
    kept, lengths, long = _fitting(found, target, context // SHARE)
    if not kept:
        raise FaqError(
            f"no seed fits a quarter of the context of {target.named} ({context} tokens)", file=source
        )
    refused = [*found.refused, *long]
    if found.form == OURS.name and not refused and source.suffix == ".jsonl":
        made = source
    else:
        text = seed_lines(kept)
        made = data / "seeds" / f"{source.name.partition('.')[0]}-{short_hash(text.encode())[:8]}.jsonl"
        try:
            make_folder(made.parent)
            write_atomic(made, text)
        except OSError as error:
            raise FaqError(f"cannot be written: {error.strerror}", file=made) from None
    count = min(len(kept), most)
    notes = _notes(source, named, preset is not None, found.form, kept, count, refused)
    return SeedFile(made, count, sum(lengths) * count // len(kept), notes)


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


def find_development(target: ModelSource, data: Path, context: int) -> Path:
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
    make_folder(path.parent)
    write_atomic(path, text)
    return path


def _notes(
    source: Path,
    named: str | None,
    preset: bool,
    form: str,
    kept: list[Seed],
    count: int,
    refused: list[Refused],
) -> tuple[str, ...]:
    what = f"preset {named or DEFAULT!r}" if preset else f"{source.name} ({form})"
    drawn = "" if count == len(kept) else f", of which {count} are drawn"
    domains = len({seed.domain for seed in kept})
    lines = [f"seeds: {what}: {len(kept)} prompts of {domains} domain{'s' * (domains > 1)}{drawn}"]
    if named is None:
        lines.append(
            "--seeds FILE takes prompts of your own: what the model will be used with serves it best"
        )
    if preset:  # the user cannot mend our rows
        return (
            (*lines, f"{len(refused)} more of it are too long for this context") if refused else tuple(lines)
        )
    for row in sorted(refused, key=lambda one: one.line)[:SHOWN]:
        lines.append(f"{source}:{row.line}: refused: {row.reason}")
    if len(refused) > SHOWN:
        lines.append(f"{source}: {len(refused) - SHOWN} more rows refused")
    return tuple(lines)
