"""Fitness of a calibration set, computed before quantization.

Mismatch of a linear layer: the mean over its input channels of ln(m_c / m_t)^2, where m_c and m_t are
the channel's second moments on the calibration set and on the target's own inference traces. It is 0
where both look alike to the layer. A quantizer that minimises the output error weighs channels by
these very moments, so a mismatch misleads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from faq_pipeline.activations.layer_names import layer_of
from faq_pipeline.store.records import ChannelMismatch

if TYPE_CHECKING:
    import torch

    from faq_pipeline.activations.moments import Moments

FLOOR = 1e-8
"""Share of a layer's mean moment that is added to all of its channels: keeps silent ones finite."""


def mismatches(calibration: Mapping[str, Moments], traces: Mapping[str, Moments]) -> list[ChannelMismatch]:
    """One row a module, in the model's order; modules that saw no token (idle experts) are left out."""
    return [
        ChannelMismatch(
            module=name,
            layer=layer_of(name),
            channels=len(traces[name].squares),
            mismatch=mismatch(own.mean, traces[name].mean),
        )
        for name, own in calibration.items()
        if own.tokens and traces[name].tokens
    ]


def mismatch(calibration: torch.Tensor, traces: torch.Tensor) -> float:
    """Mean squared log-ratio of two vectors of second moments, shape (channels,)."""
    floor = FLOOR * traces.mean()
    if not float(floor):
        return 0.0
    return float(squared_log_ratios(calibration, traces, floor).mean())


def squared_log_ratios(calibration: torch.Tensor, traces: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """ln(m_c / m_t)^2 of every channel, in the shape of `calibration`, (channels,) or (sets, channels)."""
    import torch

    return torch.log((calibration + floor) / (traces + floor)).square_()


def by_layer(rows: Sequence[ChannelMismatch]) -> dict[int, float]:
    """Mean mismatch of each layer's modules, by layer."""
    layers = sorted({row.layer for row in rows})
    return {n: fmean(row.mismatch for row in rows if row.layer == n) for n in layers}


def fitness(rows: Sequence[ChannelMismatch]) -> float | None:
    """Fitness of the set: mean mismatch over modules. Lower is better; None without modules."""
    return fmean(row.mismatch for row in rows) if rows else None
