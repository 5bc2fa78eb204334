"""What a library raises about a user's file is one line; a bug of ours keeps its traceback."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from faq_pipeline.errors import FaqError, first_line, library_errors, system_error
from faq_pipeline.errors.libraries import LONGEST

FILE = Path("models/m/tokenizer.json")


def fails(error: BaseException) -> None:
    raise error


def told(call: Callable[[], object]) -> FaqError:
    with pytest.raises(FaqError) as caught, library_errors("cannot be read", file=FILE, hint="mend it"):
        call()
    return caught.value


class OddError(Exception):
    """An exception that nobody has listed."""


@given(st.text(), st.sampled_from([OddError, ValueError, TypeError, KeyError, AttributeError, RuntimeError]))
def test_any_exception_is_one_line_of_bounded_length(text: str, kind: type[Exception]) -> None:
    error = told(lambda: fails(kind(text)))
    assert str(error).startswith(f"{FILE}: cannot be read: ") and str(error).endswith(" (mend it)")
    assert len(str(error).splitlines()) == 1 and len(error.problem) < LONGEST + 40
    str(error).encode()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OddError("the first\nthe second"), "the first"),
        (OddError("\n  \n"), "OddError"),
        (KeyError("added_tokens"), "KeyError: 'added_tokens'"),
        (KeyError("no filter of this name\nthere are others"), "no filter of this name"),
        (
            RuntimeError("Error(s) in loading:\n\tsize mismatch for a"),
            "Error(s) in loading: size mismatch for a",
        ),
    ],
    ids=str,
)
def test_the_line_says_something(error: Exception, says: str) -> None:
    assert first_line(error) == says


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        FaqError("said already", file="recipe.yaml", line=3),
    ],
    ids=repr,
)
def test_what_has_a_handling_of_its_own_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, library_errors("cannot be read", file=FILE):
        fails(error)
    assert caught.value is error


def own(function: Callable[..., object]) -> Callable[..., object]:
    """The function as if it stood in a module of the package."""
    assert isinstance(function, FunctionType)
    return FunctionType(function.__code__, {**function.__globals__, "__name__": "faq_pipeline.evaluation.x"})


def test_a_bug_in_our_code_that_a_library_calls_keeps_its_traceback() -> None:
    bug = own(lambda value: value["absent"])
    with pytest.raises(KeyError), library_errors("cannot be read", file=FILE):
        json.loads("{}", object_hook=bug)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "full", "/d/f"), "/d/f: no space left on the disk"),
        (OSError(errno.EROFS, "ro", "/d/f"), "/d/f: the file system is read-only"),
        (OSError(errno.EXDEV, "x", "/d/f"), "/d/f: a rename would cross file systems"),
        (PermissionError(errno.EACCES, "Permission denied", "/d/f"), "/d/f: Permission denied"),
        (OSError(errno.EIO, "Input/output error"), f"{FILE}: Input/output error"),
        (SafetensorError("I/O error: No space left (os error 28)"), f"{FILE}: no space left on the disk"),
    ],
    ids=str,
)
def test_what_the_system_says_is_told_as_that(error: Exception, says: str) -> None:
    assert str(told(lambda: fails(error))).startswith(says)


def test_the_hint_says_whether_to_read_or_to_write(tmp_path: Path) -> None:
    for name, verb in (("", "write"), ("new", "write"), ("no/file", "read")):
        error = system_error(PermissionError(errno.EACCES, "", tmp_path / name))
        assert error.hint.startswith(f"let this user {verb} it")


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        os.getcwd()  # noqa: PTH109
    assert str(system_error(caught.value)).startswith("the working directory is gone")
