"""A damaged line in a sample ledger costs the samples of that line and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faq_pipeline.inference.ledger import Ledger
from faq_pipeline.inference.ledger_lines import LONGEST
from faq_pipeline.inference.sampling import sample
from faq_pipeline.util.progress import SilentProgress
from tests.faults.table import FaultTable
from tests.regeneration.test_ledger import REQUESTS, SAMPLING, Engine, run


class Listener(SilentProgress):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def lines_of(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True)


def inserted(line: bytes) -> Callable[[bytes], bytes]:
    """The content with a line more after the third."""
    return lambda content: b"".join([*lines_of(content)[:3], line, *lines_of(content)[3:]])


def changed(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """The content with another value in one line."""

    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1)

    return change


def without_checksum(content: bytes) -> bytes:
    """The first line as earlier versions wrote it."""
    return b"{" + lines_of(content)[0].partition(b", ")[2]


def old_line(content: bytes) -> bytes:
    """The first line as a later version might write it: with a key more."""
    line = json.loads(lines_of(content)[0])
    return json.dumps({**line, "version": 3}).encode() + b"\n"


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], int, int]] = {
    # What is done, the damaged lines that are told, and the samples that are lost.
    "a page of zeros": (lambda content: content[:100] + bytes(200) + content[300:], 1, 2),
    "zeros at the end": (lambda content: content + bytes(4096), 1, 0),
    "text between lines": (inserted(b"{oops\n"), 1, 0),
    "half an entry": (inserted(b'{"key": "x"}\n'), 1, 0),
    "half a line at the end": (lambda content: content[:-40], 1, 1),
    "half a line at the beginning": (lambda content: content[30:], 1, 1),
    "a lost line feed at the end": (lambda content: content[:-1], 0, 0),
    "a lost line feed between lines": (changed(b"}\n{", b"}{"), 1, 2),
    "a flipped letter": (changed(b"text of s0#0", b"text of r0#0"), 1, 1),
    "another number": (changed(b'"tokens": 5', b'"tokens": 6'), 1, 1),
    "bytes that are no UTF-8": (inserted(b'{"checksum": "\xff\xfe"}\n'), 1, 0),
    "garbage": (inserted(bytes(range(256)).replace(b"\n", b"") + b"\n"), 1, 0),
    "lines twice and in another order": (lambda content: b"".join(lines_of(content)[::-1]) + content, 0, 0),
    "a line of another version": (lambda content: content + old_line(content), 1, 0),
    "a line without its checksum": (lambda content: content + without_checksum(content), 1, 0),
    "JSON of another shape": (inserted(b'[1, null, {"key": {}}]\n'), 1, 0),
    "JSON nested beyond any parser": (inserted(b"[" * 200_000 + b"\n"), 1, 0),
    "a number of 5,001 digits": (inserted(b'{"key": "x", "seconds": ' + b"9" * 5001 + b"}\n"), 1, 0),
    "a line longer than any sample": (inserted(b'"' + b"x" * (LONGEST + 9) + b'"\n'), 1, 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_line_loses_only_itself(tmp_path: Path, damage: str, fault_table: FaultTable) -> None:
    """The next run counts the damaged lines, asks for their samples alone and ends as the first did."""
    good = run(Engine(), tmp_path)
    (segment,) = tmp_path.glob("*/*.jsonl")
    spoil, told, lost = DAMAGES[damage]
    segment.write_bytes(spoil(segment.read_bytes()))
    engine, listener = Engine(), Listener()
    with fault_table.trial("damage of a ledger"):
        again = sample(engine, REQUESTS, SAMPLING, Ledger(tmp_path, {}), listener)
        assert again.completions == good
        assert len(engine.asked) == lost
        notes = [note.partition(" damaged")[0] for note in listener.notes if "damaged" in note]
        assert notes == [f"{segment}: {told}"] * bool(told)


def mutated(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, text in edits:
        at = place % (len(content) + 1)
        content = content[:at] + text + content[at + length :]
    return content


edit = st.tuples(st.integers(0, 10_000), st.integers(0, 60), st.binary(max_size=8))


@settings(max_examples=200)
@given(edits=st.lists(edit, max_size=6), flips=st.lists(st.integers(0, 20_000), max_size=6))
def test_no_change_of_bytes_makes_a_sample(edits: list[tuple[int, int, bytes]], flips: list[int]) -> None:
    """Whatever happens to a segment, it can be read, and holds no sample that was not recorded."""
    with TemporaryDirectory() as folder:
        root, units = Path(folder), Engine().units(REQUESTS)
        run(Engine(), root)
        ledger = Ledger(root, {})
        recorded = ledger.finished(units)
        (segment,) = root.glob("*/*.jsonl")
        content = bytearray(mutated(segment.read_bytes(), edits))
        for flip in flips:
            if content:
                content[flip // 8 % len(content)] ^= 1 << flip % 8
        segment.write_bytes(content)
        assert ledger.finished(units).items() <= recorded.items()


def without_checksums(segment: Path) -> Path:
    """The segment as earlier versions wrote it."""
    lines = [without_checksum(line) for line in lines_of(segment.read_bytes())]
    segment.unlink()
    old = segment.with_name("0" * 32 + ".jsonl")
    old.write_bytes(b"".join(lines))
    return old


def test_a_ledger_of_an_earlier_version_is_resumed(tmp_path: Path) -> None:
    good = run(Engine(), tmp_path)
    without_checksums(next(tmp_path.glob("*/*.jsonl")))
    engine = Engine()
    assert run(engine, tmp_path) == good and not engine.asked


@pytest.mark.parametrize(
    "change",
    [
        changed(b'"tokens": 5', b'"tokens": -5'),
        changed(b'"tokens": 5', b'"tokens":  5'),
        changed(b'"tokens": 5', b'"tokens": "5"'),
        changed(b'"logprob": -1.5', b'"logprob": NaN'),
        changed(b'"finish": "stop"', b'"finish": "done"'),
        changed(b'"error"', b'"errer"'),
        changed(b'"request_id": "s0#0"', b'"request_id": "s9#0"'),
    ],
)
def test_a_line_without_checksum_counts_only_as_it_was_written(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    good = run(Engine(), tmp_path)
    old = without_checksums(next(tmp_path.glob("*/*.jsonl")))
    old.write_bytes(change(old.read_bytes()))
    engine = Engine()
    assert run(engine, tmp_path) == good and len(engine.asked) == 1
