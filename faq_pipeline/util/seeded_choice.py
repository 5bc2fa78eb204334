"""Deterministic random choice by hash: independent of machine, file order, hash seed and RNG."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def draw_balanced(
    items: Iterable[Item],
    count: int,
    draw: int,
    *,
    id_of: Callable[[Item], str],
    domain_of: Callable[[Item], str],
) -> list[Item]:
    """`count` items (all, if there are fewer), balanced over domains.

    Domains take turns, in an order shuffled by the draw; a domain that is used up is passed over.
    Within a domain, items come in the order of a hash of draw and id. So the result does not depend
    on the order of `items`, and an item added to a large domain replaces at most one of its own.
    """
    domains: dict[str, list[Item]] = {}
    for item in items:
        domains.setdefault(domain_of(item), []).append(item)
    for members in domains.values():
        members.sort(key=lambda item: hashed("item", draw, id_of(item)))
    order = sorted(domains, key=lambda name: hashed("domain", draw, name))
    longest = max(map(len, domains.values()), default=0)
    turns = (domains[name][turn] for turn in range(longest) for name in order if turn < len(domains[name]))
    return list(islice(turns, count))


def hashed(*parts: object) -> int:
    """A number of 63 bits from the parts: an order, or the seed of a random generator."""
    # repr keeps ("a", "b") and ("ab",) apart.
    digest = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1
