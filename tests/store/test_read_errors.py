"""What cannot be read now is neither absent nor damaged: it is told, and stays as it is."""

from __future__ import annotations

import errno
import io
import os
import pickle
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError, ReadError
from faq_pipeline.inference.ledger import Ledger
from faq_pipeline.lineage.uses import damaged_uses, read_uses, record_use, used_partitions
from faq_pipeline.models.weights import find_weights
from faq_pipeline.publishing.record import Event, Record, Records
from faq_pipeline.registry import registry
from faq_pipeline.store.artifact import MANIFEST
from faq_pipeline.store.damage import find_damage
from faq_pipeline.store.store import Key, Store
from faq_pipeline.study.execution.results import Result, read_results, write_result
from tests.faults.table import FaultTable
from tests.store.users import as_user, needs_root

CODES = [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE, errno.ENOMEM]
KEY = Key("toy", 1, "a" * 20, {}, {}, {})


@contextmanager
def failing(name: str, code: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every attempt to open a file of this name, or to list a folder of it, fails with this error."""
    real_open, real_list, real_scan = io.open, os.listdir, os.scandir

    def checked(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str | os.PathLike) and Path(path).name == name:
                raise OSError(code, os.strerror(code), str(path))
            return real(path, *arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", checked(real_open))
        patch.setattr(os, "listdir", checked(real_list))
        patch.setattr(os, "scandir", checked(real_scan))
        yield


def never(folder: Path) -> dict[str, Any]:
    raise AssertionError("built, though it could not be told whether it is there")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.produce(KEY, lambda folder: (folder / "data").write_text("1") and {})
    return store


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_manifest_that_cannot_be_read_is_told_in_one_line(
    store: Store, code: int, monkeypatch: pytest.MonkeyPatch, fault_table: FaultTable
) -> None:
    """By every way to ask for an artifact."""
    (artifact,) = store.folders()
    with fault_table.trial("errors of reading a manifest"), failing(MANIFEST, code, monkeypatch):
        for ask in (
            lambda: store.produce(KEY, never),
            lambda: store.get("toy", "a" * 20),
            lambda: store.find("a"),
            lambda: list(store.artifacts()),
            lambda: store.verify(artifact),
        ):
            with pytest.raises(ReadError) as error:
                ask()
            assert error.value.file == artifact.file(MANIFEST)
            assert os.strerror(code) in str(error.value) and "\n" not in str(error.value)
        damage = find_damage(store)
        assert damage.broken == {} and damage.suspect == [] and len(damage.unread) == 1
    assert store.produce(KEY, never)[1]


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_data_that_cannot_be_read_is_not_broken(
    store: Store, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing("data", code, monkeypatch):
        damage = find_damage(store)
        upstream = {"toy": "a" * 20}
        with pytest.raises(ReadError):
            store.produce(Key("next", 1, "b" * 20, {}, {}, upstream), never)
    assert damage.broken == {} and len(damage.unread) == 1


@pytest.mark.parametrize("name", ["store", "toy"])
def test_a_folder_that_cannot_be_listed_is_not_empty(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing(name, errno.EACCES, monkeypatch), pytest.raises(ReadError):
        list(store.artifacts())


def test_too_many_open_files_are_told(store: Store) -> None:
    """With the real limit of the system."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = os.open(os.devnull, os.O_RDONLY)
    os.close(held)
    resource.setrlimit(resource.RLIMIT_NOFILE, (held, limits[1]))
    try:
        with pytest.raises(ReadError, match="ulimit -n"):
            store.produce(KEY, never)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert store.produce(KEY, never)[1]


@needs_root
def test_anothers_artifact_that_may_not_be_read_is_told(store: Store) -> None:
    (artifact,) = store.folders()
    artifact.file(MANIFEST).chmod(0o600)
    told = as_user(1234, lambda: _told(lambda: store.produce(KEY, never)))
    assert "Permission denied" in told and str(artifact.file(MANIFEST)) in told


def _told(ask: Callable[[], object]) -> str:
    try:
        ask()
    except FaqError as error:
        return str(error)
    return ""


@pytest.fixture
def others(store: Store, tmp_path: Path) -> dict[str, tuple[str, Callable[[], object]]]:
    """What else is kept in files: the name that fails, and a question whose answer depends on it."""
    record_use(store, "m@01234567|r", "toy", "a" * 20)
    write_result(store, "main", Result("cell", "declared", True, {}))
    records = Records(tmp_path / "publications")
    event = Event(what="withdrawn", when="now", by="me", cell="m|r")
    records.add(Record(digest="d" * 20, fingerprint="f" * 20), event)
    registry.update(
        tmp_path / "members.json", lambda before: before.model_copy(update={"releases": before.releases + 1})
    )
    ledger = Ledger(tmp_path / "ledgers", {})
    with ledger:
        pass
    return {
        "use": ("a" * 20 + ".json", lambda: read_uses(store)),
        "uses": (".uses", lambda: used_partitions(store)),
        "result": ("cell.json", lambda: read_results(store, "main")),
        "results": ("main", lambda: read_results(store, "main")),
        "record": ("d" * 20 + ".json", lambda: records.read("d" * 20, "f" * 20)),
        "records": ("publications", records.all),
        "broken records": ("d" * 20 + ".json", records.broken),
        "registry": ("members.json", lambda: registry.load(tmp_path / "members.json")),
        "ledger": (ledger.folder.name, lambda: ledger.finished([])),
    }


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize(
    "what",
    ["use", "uses", "result", "results", "record", "records", "broken records", "registry", "ledger"],
)
def test_no_other_file_is_taken_for_absent(
    others: dict[str, tuple[str, Callable[[], object]]],
    what: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    fault_table: FaultTable,
) -> None:
    name, ask = others[what]
    with fault_table.trial("errors of reading another file of ours"):
        assert ask() is not None
        with failing(name, code, monkeypatch), pytest.raises(ReadError):
            ask()


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "config.json"])
def test_a_members_file_that_cannot_be_read_is_told(
    tiny_data: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = Member(name="tiny-s", path=tiny_data / "models/tiny-s", parameters=1)
    with failing(name, errno.EIO, monkeypatch), pytest.raises(ReadError) as error:
        find_weights(member, tmp_path / "digests")
    assert error.value.file == tiny_data / "models/tiny-s" / name


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b"\xff", b'{"used": "x"}'], ids=repr)
def test_a_damaged_use_still_says_what_was_used(store: Store, left: bytes) -> None:
    """Or `faq cache gc --unused` would take what it alone keeps."""
    record_use(store, "m@01234567|r", "toy", "a" * 20)
    record_use(store, "m@01234567|r", "toy", "b" * 20)
    assert damaged_uses(store) == set()
    (path,) = store.root.glob(f".uses/*/*/{'a' * 20}.json")
    path.write_bytes(left)
    assert damaged_uses(store) == {"a" * 20}
    assert [use.fingerprint for use in read_uses(store)] == ["b" * 20]


def test_a_read_error_is_an_error_of_the_system_and_crosses_processes() -> None:
    error = ReadError.of(OSError(errno.EIO, "Input/output error"), Path("there"))
    assert error.errno == errno.EIO and isinstance(error, OSError) and isinstance(error, FaqError)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) and str(error).startswith("there: cannot be read: Input/output error")
    assert (copy.file, copy.hint) == (error.file, error.hint)
