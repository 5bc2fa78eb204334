"""Where things are: the data folders, the artifact store, the lineage index, Dagster's home.

Everything has a default and can be moved by an environment variable:

- `FAQ_HOME`: artifacts, lineage index and Dagster's home. Default: `.faq` in the checkout; where the
  package is installed without one, the user's data folder (`~/.local/share/faq-pipeline` on Linux).
- `FAQ_DATA`: more folders with `families/` and `recipes/`, separated by `:`. `$FAQ_HOME/data`, which
  `faq quantize` writes, is always one of them.
- `FAQ_DEVICE`: `auto` (default), `cpu`, `cuda`, or some GPUs: `cuda:1`, `cuda:0,1`.
- `FAQ_LEASES`: the folder for GPU leases, which all users of this host's GPUs share (default
  `/tmp/faq-gpu-leases`).
- `FAQ_VLLM`: a python of your own with vLLM, instead of the one of `faq engines install vllm`.
- `DAGSTER_HOME`: default `$FAQ_HOME/dagster`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from platformdirs import user_data_path

from faq_pipeline.config.catalog import Catalog
from faq_pipeline.errors import FaqError
from faq_pipeline.models.device import check_device
from faq_pipeline.registry.merge import merge_registry
from faq_pipeline.store.store import Store
from faq_pipeline.util.atomic_files import link_atomic
from faq_pipeline.util.files import obstacle
from faq_pipeline.util.secrets import secret_in

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "shipped"
IN_CHECKOUT = not _SHIPPED.is_dir()
"""Whether this package runs from a checkout (also by an editable installation), not from a wheel."""
REPOSITORY = _PACKAGE.parent if IN_CHECKOUT else _SHIPPED
"""The folder with `data/`, `dagster.yaml` and the workspace files.

It is the top of the checkout. In a wheel it is `faq_pipeline/shipped`, a copy that the build (setup.py)
makes; nothing is written there, since it may be read-only.
"""
WORKSPACES = ("workspace.yaml", "workspace_studies.yaml")
"""The files with which `dagster dev -w` loads the pipeline and the studies."""


@dataclass(frozen=True)
class Settings:
    """The places of one installation."""

    home: Path
    data: tuple[Path, ...]
    device: str

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the environment variables above.

        Raises:
            FaqError: FAQ_HOME cannot be written to, FAQ_DEVICE is no device, or a variable holds a secret.
        """
        _check_variables()
        home = _absolute(os.environ.get("FAQ_HOME") or default_home())
        _check_home(home)
        more = [_absolute(part) for part in os.environ.get("FAQ_DATA", "").split(":") if part]
        device = os.environ.get("FAQ_DEVICE") or "auto"
        try:
            check_device(device)
        except FaqError as error:
            raise FaqError(f"FAQ_DEVICE: {error.problem}", hint=error.hint) from None
        return cls(home, (REPOSITORY / "data", *more), device)

    def reread(self) -> Settings:
        """The same places, whose families and recipes are read anew when they are asked for."""
        return replace(self)

    @property
    def own_data(self) -> Path:
        """The data folder that `faq init` and `faq quantize` write to; the catalog reads it, too."""
        return self.home / "data"

    @cached_property
    def catalog(self) -> Catalog:
        """Families with what was discovered, and recipes; read once.

        Raises:
            FaqError: a folder of FAQ_DATA holds none of what is looked for.
        """
        for folder in self.data:
            if not any((folder / part).is_dir() for part in ("families", "recipes", "studies")):
                what = "has no families/, recipes/ or studies/" if folder.is_dir() else "is no folder"
                raise FaqError(f"{folder} {what}", hint="check FAQ_DATA")
        own = (self.own_data,) if self.own_data.is_dir() and self.own_data not in self.data else ()
        return Catalog((*self.data, *own), merge_registry(self.members))

    @property
    def store(self) -> Store:
        return Store(self.home / "store")

    @property
    def members(self) -> Path:
        """The registry of discovered members."""
        return self.home / "members.json"

    @property
    def digests(self) -> Path:
        """Remembered digests of local weight files, and unpacked weights."""
        return self.home / "digests"

    @property
    def lineage(self) -> Path:
        """The DuckDB index."""
        return self.home / "lineage.duckdb"

    @property
    def has_dagster_home(self) -> bool:
        """Whether Dagster's home was made: before, there are no runs to ask for."""
        return (self._dagster_home / "dagster.yaml").exists()

    def dagster_home(self) -> Path:
        """Dagster's home, made if need be, with links to the shipped `dagster.yaml` and workspace files.

        The workspaces are for `dagster dev -w`: they name the code location as runs of the CLI do.

        Links to what another version of this package shipped are replaced: those files may name modules
        which this version does not have. A file or link of the user's own is left alone.
        """
        home = self._dagster_home
        home.mkdir(parents=True, exist_ok=True)
        _link_shipped(home, "dagster.yaml")
        for name in WORKSPACES:
            with suppress(OSError):  # no command needs them, and the home may be for reading only
                _link_shipped(home, name)
        return home

    @property
    def _dagster_home(self) -> Path:
        return _absolute(os.environ.get("DAGSTER_HOME") or self.home / "dagster")


def _link_shipped(home: Path, name: str) -> None:
    config, shipped = home / name, REPOSITORY / name
    if _is_shipped_elsewhere(config, shipped) or not config.exists():
        link_atomic(config, str(shipped))


def _is_shipped_elsewhere(config: Path, shipped: Path) -> bool:
    """Whether the file is a link to the same file of another checkout or installation."""
    if not config.is_symlink():
        return False
    target = config.readlink()
    beside = [target.parent / name for name in ("dagster.yaml", "workspace.yaml")]
    return target != shipped and target.name == shipped.name and all(file.is_file() for file in beside)


def default_home() -> Path:
    """The home where `FAQ_HOME` is not set."""
    return REPOSITORY / ".faq" if IN_CHECKOUT else user_data_path("faq-pipeline", appauthor=False)


def _check_variables() -> None:
    """Refuse secrets in the variables above, which are printed; none of them needs one."""
    for name in ("FAQ_HOME", "FAQ_DATA", "FAQ_DEVICE", "FAQ_LEASES", "FAQ_VLLM", "DAGSTER_HOME"):
        if what := secret_in(os.environ.get(name, "")):
            raise FaqError(f"{name} holds {what}", hint="it names a folder, a file or a device")


def _absolute(path: Path | str) -> Path:
    """`~` is expanded: it reaches us where no shell has, as in a quoted or an .env value."""
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - Path's may raise


def _check_home(home: Path) -> None:
    """Refuse a home that cannot be written to, before anything tries; nothing is made yet."""
    there = obstacle(home)
    if there is None:
        return
    if not there.is_dir():
        raise FaqError(f"FAQ_HOME {home} cannot be a folder: {there} is a file", hint="set another FAQ_HOME")
    raise FaqError(f"FAQ_HOME {home} cannot be written to", hint=f"set another, or make {there} writable")
