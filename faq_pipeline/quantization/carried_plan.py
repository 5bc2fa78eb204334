"""A bit plan of one member for another member of its family: measured costs carried by kind and depth.

A plan measures the KL divergence of every layer at every width, which takes a quantization for each width
and a forward pass for each layer and width. Members of a family have the same kinds of layers, and what
makes one sensitive (its kind, its depth) is much the same in all of them. So the costs of a small member
stand for those of a large one, and only the choice is made again, with the large one's sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from faq_pipeline.errors import FaqError
from faq_pipeline.models.architecture import LinearLayer
from faq_pipeline.quantization.fused_layers import fused_layers
from faq_pipeline.quantization.knapsack import cheapest_bits
from faq_pipeline.store.records import PlannedLayer

_BLOCK = re.compile(r"\.(\d+)\.")


def carried_bits(
    costs: Sequence[PlannedLayer], layers: Sequence[LinearLayer], average_bits: float
) -> dict[str, int]:
    """The bits of each module of a member, from costs that were measured on another.

    A layer takes the costs of the layer of its kind at the same relative depth: that of block `i` of `n` is
    `i / (n - 1)`. The cheapest sum of these costs within the budget is found exactly, with the sizes of
    the member's own layers.

    Args:
        costs: a row for each layer and width of the other member.
        layers: the member's layers that are quantized.
        average_bits: the mean of bits over all weights is at most this.

    Raises:
        FaqError: the other member has no layer of some kind, or even the fewest bits are too many.
    """
    sizes = {layer.module: layer.rows * layer.columns for layer in layers}
    fused = fused_layers(sizes)
    measured = _by_kind(costs)
    widths = sorted({row.bits for row in costs})
    depth = _depth(fused)
    wanted = {name: _costs(name, depth, measured, widths) for name in fused}
    totals = {name: sum(sizes[module] for module in modules) for name, modules in fused.items()}
    try:
        chosen = cheapest_bits(widths, wanted, totals, average_bits)
    except ValueError:
        raise FaqError(
            f"{average_bits} bits a weight are fewer than the plan's smallest width, {widths[0]}"
        ) from None
    return {module: widths[chosen[name]] for name, modules in fused.items() for module in modules}


def _kind(name: str) -> str:
    """The layer's name without the number of its block."""
    return _BLOCK.sub(".*.", name, count=1)


def _block(name: str) -> int:
    found = _BLOCK.search(name)
    return int(found[1]) if found else 0


def _depth(names: Iterable[str]) -> int:
    """The number of the last block; 1 where there is but one block."""
    return max(1, *(_block(name) for name in names), 1)


def _by_kind(costs: Sequence[PlannedLayer]) -> dict[str, dict[float, dict[int, float]]]:
    """Costs by kind, relative depth and bits."""
    last = _depth(row.layer for row in costs)
    found: dict[str, dict[float, dict[int, float]]] = {}
    for row in costs:
        at = found.setdefault(_kind(row.layer), {}).setdefault(_block(row.layer) / last, {})
        at[row.bits] = row.cost
    return found


def _costs(
    name: str,
    last: int,
    measured: Mapping[str, Mapping[float, Mapping[int, float]]],
    widths: Sequence[int],
) -> list[float]:
    """The costs of a layer at each width: of its kind, at the nearest relative depth."""
    kind = _kind(name)
    if kind not in measured:
        raise FaqError(
            f"the plan has no layer like {name}",
            hint="a plan can be carried between members with the same kinds of layers",
        )
    depth = _block(name) / last
    nearest = min(measured[kind], key=lambda other: (abs(other - depth), other))
    return [measured[kind][nearest][bits] for bits in widths]
