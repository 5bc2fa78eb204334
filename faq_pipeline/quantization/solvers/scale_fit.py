"""Scales for fixed integers, by least squares in the layer's error."""

from __future__ import annotations

import torch

RIDGE = 1e-6
"""Share of a system's mean diagonal that is added to its diagonal."""
ENTRIES = 2**24
"""Of the systems that are held at a time: rows are independent of each other."""


def fitted_scales(
    integers: torch.Tensor,
    residual: torch.Tensor,
    hessian: torch.Tensor,
    scale: torch.Tensor,
    order: torch.Tensor,
) -> torch.Tensor:
    """The scales with which given integers have the least error, row by row.

    Let Q_g be a row's integers in group g and 0 elsewhere. With scales s + d the row's error is that of
    w - sum_g (s_g + d_g) Q_g, and it is least for

        (Q S Q^T) d = Q S (w - v),   v = sum_g s_g Q_g.

    That is one system with as many unknowns as the row has groups. The ridge pulls d to 0. A group without
    any integer but 0 keeps its scale.

    Args:
        integers: shape (rows, columns), float32, columns in any order.
        residual: (W - V) S in the same order, shape (rows, columns).
        hessian: S in the same order, shape (columns, columns).
        scale: s, shape (rows, groups).
        order: which column each one was, groups being consecutive columns; shape (columns,).

    Returns:
        s + d, float64. Nothing keeps them above 0.
    """
    back = torch.argsort(order)
    rows_at_once = max(1, ENTRIES // scale.shape[1] ** 2)
    return torch.cat(
        [
            own_scale.double() + _steps(own, right[:, back], hessian, order, back, own_scale.shape[1])
            for own, right, own_scale in zip(
                integers.split(rows_at_once),
                residual.split(rows_at_once),
                scale.split(rows_at_once),
                strict=True,
            )
        ]
    )


def _steps(
    integers: torch.Tensor,
    residual: torch.Tensor,
    hessian: torch.Tensor,
    order: torch.Tensor,
    back: torch.Tensor,
    groups: int,
) -> torch.Tensor:
    """d, shape (rows, groups); `residual` has its columns as they come."""

    def by_group(columns: torch.Tensor) -> torch.Tensor:
        return columns.unflatten(1, (groups, -1)).sum(-1).double()

    width = integers.shape[1] // groups
    plain = integers[:, back]
    systems = torch.stack(
        [
            by_group((integers[:, own] @ hessian[own])[:, back] * plain)
            for own in (back[start : start + width] for start in range(0, len(back), width))
        ],
        1,
    )
    diagonal = systems.diagonal(dim1=1, dim2=2)
    diagonal += RIDGE * diagonal.mean(1, keepdim=True)
    diagonal[(plain == 0).unflatten(1, (groups, -1)).all(-1)] = 1.0
    return torch.linalg.solve(systems, by_group(residual * plain))
