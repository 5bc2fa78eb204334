"""Files that a command writes for the user: YAML with comments, left alone once edited; undone if refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from faq_pipeline.errors import FaqError, reading_file
from faq_pipeline.settings import REPOSITORY
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.util.atomic_files import write_atomic

SCHEMAS = REPOSITORY / "data/schemas"
"""JSON Schemas that editors read."""
NULL = "tag:yaml.org,2002:null"
_CHECK = re.compile(r"^# Unchanged, it is replaced by the next call: check ([0-9a-f]+)\n", re.MULTILINE)


def yaml_text(tree: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """A tree as YAML, with comments above keys.

    Args:
        comments: by dotted key, as `calibration.tokens`; lines are kept.
    """
    made = _commented(tree, comments, ())
    writer, stream = YAML(), StringIO()
    writer.width, writer.indent = 110, 2
    writer.default_flow_style = False
    # An explicit null takes a key away from what a recipe extends; nothing after the colon looks forgotten.
    writer.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    writer.dump(made, stream)
    return stream.getvalue()


def write_own(path: Path, body: str, record: WrittenFiles, *, by: str, schema: str, hint: str) -> None:
    """Write a file, or replace one of ours that nobody has edited.

    Args:
        by: the command, named in the head.
        schema: name of the JSON Schema that editors read.
        hint: for the user who has edited the file.

    Raises:
        FaqError: the file was edited, or cannot be written.
    """
    check = short_hash(body.encode())
    try:
        with reading_file(path):
            before = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        before = None
    if before is not None and not is_unedited(before):
        if _body(before) == body:
            return
        raise FaqError("this file was edited, and is not replaced", hint=hint, file=path)
    head = (
        f"# yaml-language-server: $schema={SCHEMAS / schema}.json\n"
        f"# Written by `{by}`. Edit it as you like: it is then left alone.\n"
        f"# Unchanged, it is replaced by the next call: check {check}\n"
    )
    record.write(path, head + body)


class WrittenFiles:
    """What a call writes. As a context it undoes this if the block is refused or interrupted.

    An error that leaves it has no place in a file that is gone again.
    """

    def __init__(self) -> None:
        self._files: dict[Path, tuple[bytes | None, bytes, _File | None]] = {}

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        undone = self.undo() if error else []
        if isinstance(error, FaqError) and error.file in undone:
            raise FaqError(error.problem, hint=error.hint, key=error.key) from error

    def write(self, path: Path, text: str) -> None:
        """Write or replace a file.

        Raises:
            FaqError: it cannot be written.
        """
        try:
            known = self._files.get(path)
            before = known[0] if known else path.read_bytes() if path.is_file() else None
            self._files[path] = before, text.encode(), None  # first, as the write may be interrupted
            write_atomic(path, text)
            self._files[path] = before, text.encode(), _file(path)
        except OSError as error:
            raise FaqError(f"cannot be written: {error.strerror}", file=path) from None

    def undo(self) -> list[Path]:
        """Make files again what they were, unless others have written them since. Returns which.

        Another call may have written equal bytes, and need them: that is another file of this name.
        """
        undone = []
        for path, (before, written, file) in self._files.items():
            with suppress(OSError):  # an error here would hide the one that led here
                if path.read_bytes() == written != before and file in (None, _file(path)):
                    path.unlink() if before is None else write_atomic(path, before)
                    undone.append(path)
        return undone


_File = tuple[int, int]


def _file(path: Path) -> _File:
    """Which file a path names: its inode and the time of its last write."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def is_unedited(text: str) -> bool:
    """Whether a file was written by `write_own` and is as it was then."""
    found = _CHECK.search(text)
    return found is not None and found[1] == short_hash(_body(text).encode())


def _body(text: str) -> str:
    found = _CHECK.search(text)
    return text[found.end() :] if found else text


def _commented(node: Any, comments: Mapping[str, str], at: tuple[str, ...]) -> Any:
    if isinstance(node, Mapping):
        made = CommentedMap()
        for key, value in node.items():
            made[key] = _commented(value, comments, (*at, str(key)))
            if note := comments.get(".".join((*at, str(key)))):
                made.yaml_set_comment_before_after_key(key, before=note, indent=2 * len(at))
        return made
    if isinstance(node, (list, tuple)):
        items = [_commented(value, comments, at) for value in node]
        made_list = CommentedSeq(items)
        if all(not isinstance(item, (Mapping, list)) for item in items):
            made_list.fa.set_flow_style()
        return made_list
    return str(node) if isinstance(node, Path) else node
