"""Parts that recipes name (experts, selectors, engines, methods, schemes): built-in ones and plugins'.

A plugin is an installed distribution with entry points in a group such as `faq_pipeline.experts`. An
entry point's name is what recipes write; its object is the part. Distributions are looked through at
the first lookup, and a plugin is imported when a recipe names it, not before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from faq_pipeline.errors import FaqError, nearest_and_known

Part = TypeVar("Part")
Hint = Callable[[str, Sequence[str]], str]


@dataclass(frozen=True)
class Plugin:
    """The distribution that a part comes from."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


class Registry(Generic[Part]):
    """Parts of one kind by name. Built-in ones come first in `names`; a plugin cannot replace one."""

    def __init__(
        self,
        kind: str,
        group: str,
        built_in: Mapping[str, Part],
        *,
        key: str,
        has: Sequence[str] = (),
        hint: Hint = nearest_and_known,
    ) -> None:
        """
        Args:
            kind: what messages call a part: `expert`.
            group: the entry points' group, `faq_pipeline.<group>`.
            key: the recipe's key that names a part, `calibration.selection`.
            has: attributes that a plugin's part must have.
            hint: makes the hint for an unknown name from the name and the known ones.
        """
        self.kind, self.group, self.built_in = kind, f"faq_pipeline.{group}", dict(built_in)
        self._key, self._has, self._hint = key, has, hint
        self._loaded: dict[tuple[tuple[str, ...], str], Part] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Part:
        return self.find(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names: the built-in ones in their order, then the plugins'. No plugin is imported."""
        return (*self.built_in, *sorted({point.name for point in self._points} - self.built_in.keys()))

    def find(self, name: str, key: str | None = None) -> Part:
        """The part of that name.

        Args:
            key: the recipe's key that names it, where it is another one than the registry's.

        Raises:
            FaqError: no part or more than one has that name, or its plugin is broken. It names the
                recipe's key, and the distribution.
        """
        key = self._key if key is None else key
        point = self._point(name, key)
        if point is None:
            return self.built_in[name]
        place = tuple(sys.path), name
        if place not in self._loaded:
            self._loaded[place] = self._load(point, key)
        return self._loaded[place]

    def plugins(self, names: Iterable[str]) -> dict[str, str]:
        """Of the parts of these names, those that are plugins': `{"expert brevity": "acme-faq 1.2"}`.

        Raises:
            FaqError: as `find`; no plugin is imported.
        """
        points = {name: self._point(name, self._key) for name in sorted(names)}
        return {f"{self.kind} {name}": str(_plugin(p)) for name, p in points.items() if p is not None}

    @property
    def _points(self) -> Sequence[EntryPoint]:
        return _offered(tuple(sys.path), self.group)

    def _point(self, name: str, key: str) -> EntryPoint | None:
        """The entry point of a name; None for a built-in part."""
        found = [point for point in self._points if point.name == name]
        owners = ["faq_pipeline"] * (name in self.built_in) + [str(_plugin(point)) for point in found]
        if not owners:
            hint = self._hint(name, self.names)
            raise FaqError(f"unknown {self.kind} {name!r}", hint=hint, key=key)
        if len(owners) > 1:
            raise FaqError(
                f"{self.kind} {name!r} is offered by {' and by '.join(owners)}",
                hint=f"uninstall {found[-1].dist.name if found[-1].dist else 'one'}",
                key=key,
            )
        return found[0] if found else None

    def _load(self, point: EntryPoint, key: str) -> Part:
        owner = _plugin(point)

        def broken(problem: str) -> FaqError:
            return FaqError(
                f"{self.kind} {point.name!r} of {owner}: {problem}",
                hint=f"repair or uninstall {owner.distribution}",
                key=key,
            )

        try:
            part: Any = point.load()
        except Exception as error:  # whatever its import raises
            raise broken(f"{point.value} cannot be imported: {_described(error)}") from error
        missing = [name for name in self._has if not hasattr(part, name)]
        if missing or isinstance(part, type):
            what = "a class, not an instance of it" if isinstance(part, type) else f"without {missing[0]!r}"
            raise broken(f"{point.value} is {what}")
        if getattr(part, "name", point.name) != point.name:
            raise broken(f"{point.value} calls itself {part.name!r}")
        return part  # type: ignore[no-any-return]


def plugin_identity(*used: Mapping[str, str]) -> dict[str, Any]:
    """What plugins add to a stage's identity: their names and versions. Built-in parts add nothing.

    Args:
        used: as `Registry.plugins` returns.
    """
    plugins = {part: plugin for one in used for part, plugin in one.items()}
    return {"plugins": plugins} if plugins else {}


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _plugin(point: EntryPoint) -> Plugin:
    assert point.dist is not None
    return Plugin(point.dist.name, point.dist.version)


@lru_cache(maxsize=32)
def _offered(path: tuple[str, ...], group: str) -> tuple[EntryPoint, ...]:
    return tuple(_installed(path).select(group=group))


@lru_cache(maxsize=2)
def _installed(path: tuple[str, ...]) -> Any:
    """All entry points on an import path, to `select` from. They are looked up once."""
    return entry_points()
