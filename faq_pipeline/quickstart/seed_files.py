"""Reads prompts from the files that people have, and writes them as a seed file.

JSON Lines, JSON (a list), CSV and TSV, Parquet, and text with a prompt or passage a line; all but Parquet
also as `.gz`. What a row is, `seed_forms` says.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO, Any

from faq_pipeline.errors import FaqError, ReadError
from faq_pipeline.quickstart.seed_conversion import Converted, convert
from faq_pipeline.quickstart.seed_forms import EXPECTED, LOOKED_AT, column_form, recognize
from faq_pipeline.quickstart.seed_values import UnusableRowError
from faq_pipeline.store.records import Seed

JSON_KINDS = (".jsonl", ".ndjson", ".json")
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet")
Rows = Iterator[tuple[int, Any]]
"""Rows with their 1-based lines; one that cannot be read is an UnusableRowError."""


def read_seed_file(path: Path) -> Converted:
    """The seeds of a file in whatever known form, and the rows that became none.

    Raises:
        FaqError: no such file, an unknown kind of file, one that cannot be read, a form that is not
            recognized, or no usable row; names file and line.
    """
    if not path.is_file():
        raise FaqError("no such seed file", hint="a path, as seen from the working directory", file=path)
    suffix = _suffix(path)
    if suffix not in SUFFIXES:
        kinds = ", ".join(SUFFIXES)
        raise FaqError(
            f"unknown kind of seed file {path.suffix!r}", hint=f"known: {kinds}, and .gz", file=path
        )
    try:
        rows = _rows(path, suffix)
        first = list(islice(rows, LOOKED_AT))
        seen = [row for _, row in first if isinstance(row, dict)]
        # Without an object there is no form, and each row is refused.
        form = column_form("text") if suffix == ".txt" or not seen else recognize(seen)
        found = convert(form, (*first, *rows), path.name)
    except FaqError as error:
        if error.file is not None:
            raise
        raise FaqError(error.problem, hint=error.hint, file=path) from None
    except UnicodeDecodeError:
        raise FaqError("not UTF-8 text", hint="save it as UTF-8", file=path) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FaqError(f"not a whole gzip file: {error}", file=path) from None
    except OSError as error:
        raise ReadError.of(error, path) from error
    if not found.seeds:
        why = found.refused[0] if found.refused else None
        reason = f"no usable row, the first: {why.reason}" if why else "the file is empty"
        hint = "" if seen or suffix not in JSON_KINDS else EXPECTED
        raise FaqError(reason, hint=hint, file=path, line=why.line if why else 1)
    return found


def is_seed_file(path: Path) -> bool:
    """Whether a path is called as a seed file is, be it there or not."""
    return _suffix(path) in SUFFIXES


def _suffix(path: Path) -> str:
    """The kind of a file, that of `a.csv.gz` too."""
    return (path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix).lower()


def seed_lines(seeds: list[Seed]) -> str:
    """The text of a seed file."""
    rows = ({key: value for key, value in asdict(seed).items() if value is not None} for seed in seeds)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _rows(path: Path, suffix: str) -> Rows:
    if suffix == ".parquet":
        yield from _parquet(path)
        return
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        yield from _READERS[suffix](file)


def _json_lines(file: IO[str]) -> Rows:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            yield line, json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", type(error).__name__)
            yield line, UnusableRowError(f"not valid JSON: {reason}")


def _json_list(file: IO[str]) -> Rows:
    """The objects of a list; its lines are not known, so that rows are counted instead."""
    try:
        content = json.load(file)
    except (ValueError, RecursionError) as error:
        reason, line = getattr(error, "msg", type(error).__name__), getattr(error, "lineno", None)
        raise FaqError(f"not valid JSON: {reason}", hint="JSON Lines end in .jsonl", line=line) from None
    if not isinstance(content, list):
        raise FaqError("expected a list of objects", hint="[{...}, ...], or one object a line in a .jsonl")
    yield from enumerate(content, start=1)


def _table(file: IO[str], delimiter: str) -> Rows:
    csv.field_size_limit(sys.maxsize)
    reader = csv.DictReader(file, delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, UnusableRowError(f"not valid CSV: {error}")
            return
        more = row.pop(None, None)  # type: ignore[call-overload]
        problem = UnusableRowError("more cells than the header has") if more else None
        yield reader.line_num, problem or row


def _texts(file: IO[str]) -> Rows:
    return ((line, {"text": text.strip()}) for line, text in enumerate(file, start=1) if text.strip())


def _parquet(path: Path) -> Rows:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            line = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    line += 1
                    yield line, row
    except pa.ArrowException as error:
        raise FaqError(f"not a Parquet file: {str(error).splitlines()[0]}", file=path) from None


_READERS = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_list,
    ".csv": lambda file: _table(file, ","),
    ".tsv": lambda file: _table(file, "\t"),
    ".txt": _texts,
}
