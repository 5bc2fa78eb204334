"""Which cells used which artifact: one small file per use, beside the artifacts.

An artifact is keyed by what its stage declares and may serve several cells, so no manifest can
name them. `root/.uses/<member>|<recipe>/<stage>/<fingerprint>.json` does; the newest of a stage is
the cell's current one. The index reads these files, so the store alone is enough to rebuild it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from faq_pipeline.config.family import Family
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import reading_file
from faq_pipeline.models.device import device_kind
from faq_pipeline.models.weights import Weights
from faq_pipeline.store import checked_json
from faq_pipeline.store.store import Store
from faq_pipeline.util.atomic_files import write_atomic
from faq_pipeline.util.files import ABSENT, listing, subfolders

FOLDER = ".uses"


@dataclass(frozen=True)
class Use:
    """A cell's use of an artifact.

    Attributes:
        partition: `name@rev8|recipe`.
        used: nanoseconds since 1970.
        current: whether no other artifact of the stage was used by the cell later.
        licences: of `base` and `teacher`, where they were recorded.
        setting: what a cell of one name may be made with besides (`cpu, draw 0`); empty where that
            was not recorded.
    """

    partition: str
    stage: str
    fingerprint: str
    used: int
    current: bool
    licences: Mapping[str, str]
    setting: str = ""

    @property
    def member(self) -> str:
        """`name@rev8`."""
        return self.partition.partition("|")[0]

    @property
    def recipe(self) -> str:
        return self.partition.partition("|")[2]

    def is_of(self, draw: int) -> bool:
        """Whether that draw was used, as far as it was recorded."""
        return not self.setting or self.setting.endswith(f", {_drawn(draw)}")


def record_use(
    store: Store,
    partition: str,
    stage: str,
    fingerprint: str,
    licences: Mapping[str, str] | None = None,
    setting: str = "",
) -> None:
    """Record atomically that the cell `partition` (`name@rev8|recipe`) uses an artifact; the newest wins.

    Args:
        licences: of the models behind the cell, see `cell_licences`.
        setting: see `cell_setting`.
    """
    folder = uses_folder(store)
    path = folder / partition / stage / f"{fingerprint}.json"
    content = {"used": time.time_ns(), "licences": dict(licences or {}), "setting": setting}
    write_atomic(path, checked_json.written(content))
    for above in (path.parent.parent, folder):  # in this order: see `snapshot`
        with suppress(OSError):
            os.utime(above)


def uses_folder(store: Store) -> Path:
    """The folder of all uses. A new use below it changes its time, and the time of its cell's folder."""
    return store.root / FOLDER


def partitions_that_use(store: Store, names: Collection[str], stages: Collection[str]) -> set[str]:
    """The cells that used an artifact of these names and stages.

    Raises:
        ReadError: a folder cannot be read now.
    """
    folder = uses_folder(store)
    wanted = {f"{name}.json" for name in names}
    with reading_file(folder):
        return {
            cell.name
            for cell in subfolders(folder)
            if any(path.name in wanted for stage in stages for path in listing(cell / stage, ".json"))
        }


def cell_licences(cell: Cell) -> dict[str, str]:
    """Licences of the cell's target (`base`) and of its teacher, where it has one."""
    licences = {"base": _licence(cell.target, cell.family)}
    if cell.teacher is not None:
        licences["teacher"] = _licence(cell.teacher, cell.teacher_family or cell.family)
    return licences


def cell_setting(cell: Cell) -> str:
    """Device and draw of the cell. A use with another setting does not supersede this one."""
    return f"{device_kind(cell.device)}, {_drawn(cell.recipe.draw)}"


def read_uses(store: Store, partition: str = "*") -> list[Use]:
    """All recorded uses (of one cell), oldest first; damaged files are skipped, see `damaged_uses`.

    Raises:
        ReadError: a file or folder cannot be read now.
    """
    uses = [use for _, use in _read(store, partition) if use is not None]
    found = sorted(uses, key=lambda use: (use.used, use.fingerprint))
    newest = {(use.partition, use.stage): use.fingerprint for use in found}
    return [replace(use, current=newest[use.partition, use.stage] == use.fingerprint) for use in found]


def damaged_uses(store: Store) -> set[str]:
    """Fingerprints of the artifacts with a damaged use: it cannot be told whether a later one replaced it.

    Raises:
        ReadError: a file or folder cannot be read now.
    """
    return {path.stem for path, use in _read(store, "*") if use is None}


def used_partitions(store: Store) -> set[str]:
    """The cells that used any artifact."""
    folder = uses_folder(store)
    with reading_file(folder):
        return {cell.name for cell in subfolders(folder)}


def _licence(weights: Weights, family: Family) -> str:
    own = weights.member.licence
    return family.licence if own == "unknown" else own


def _read(store: Store, partition: str) -> Iterator[tuple[Path, Use | None]]:
    """The files of uses, with None for a damaged one."""
    root = uses_folder(store)
    with reading_file(root):
        cells = subfolders(root) if partition == "*" else [root / partition]
        paths = [path for cell in cells for stage in subfolders(cell) for path in listing(stage, ".json")]
    for path in paths:
        try:
            with reading_file(path):
                text = path.read_bytes()
        except ABSENT:
            continue  # removed since it was listed
        yield path, _parsed(path, text)


class _Content(BaseModel):
    """What a use's file holds. One of an earlier version may lack the setting, and has no checksum."""

    model_config = ConfigDict(strict=True, extra="forbid")
    used: int = Field(ge=0, lt=1 << 63)
    licences: dict[str, str]
    setting: str = ""


def _parsed(path: Path, text: bytes) -> Use | None:
    try:
        content = _Content.model_validate_json(checked_json.checked(text)[0])
    except ValueError:
        return None
    partition, stage = path.parent.parent.name, path.parent.name
    return Use(partition, stage, path.stem, content.used, False, content.licences, content.setting)


def _drawn(draw: int) -> str:
    return f"draw {draw}"
