"""What was found out about a file by reading all of it, remembered while the file stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from faq_pipeline.errors import reading_file
from faq_pipeline.store.fingerprint import file_state, short_hash, wait_for_tick
from faq_pipeline.util.atomic_files import write_atomic


def remembered(path: Path, cache: Path, find: Callable[[Path], str], question: str = "") -> str:
    """What `find` answers of a file, a word; from the cache where it has a sound entry for the file as it is.

    Args:
        cache: a folder with an entry for each file and question, by path, size, times and inode.
        question: what `find` answers; that for the file's digest has no name.

    Raises:
        ReadError: the file cannot be read.
    """
    with reading_file(path):
        state = file_state(path.stat())
    name = short_hash("|".join([*([question] if question else []), f"{path.resolve()}|{state}"]).encode())
    with suppress(OSError, ValueError):  # an entry that is absent, damaged or cannot be read only costs time
        answer, check = (cache / name).read_text(encoding="ascii").split()
        if check == short_hash(f"{name} {answer}".encode()):
            return answer
    wait_for_tick(state)  # a change within the same tick would leave the state as it is
    with reading_file(path):
        answer = find(path)
        unchanged = file_state(path.stat()) == state
    if unchanged:
        with suppress(OSError):  # a full or read-only disk only costs the time to read it again
            write_atomic(cache / name, f"{answer} {short_hash(f'{name} {answer}'.encode())}\n")
    return answer
