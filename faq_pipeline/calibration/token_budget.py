"""Selects the samples of the calibration set: a fixed token budget, balanced over domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BudgetItem:
    """A sample that may be chosen. `whole`: it ends in an answer and must not be cut."""

    id: str
    domain: str
    tokens: int
    whole: bool


@dataclass(frozen=True)
class SelectedSample:
    """A piece that was chosen, and how many of its tokens, from the first, are kept."""

    piece: BudgetItem
    tokens: int


@dataclass(frozen=True)
class Selection:
    """Pieces chosen, in order; pieces longer than a row; pieces that the budget had no room for."""

    chosen: list[SelectedSample]
    too_long: list[BudgetItem]
    unused: list[BudgetItem]

    @property
    def tokens(self) -> int:
        """Tokens of all that was chosen."""
        return sum(c.tokens for c in self.chosen)


def select(pieces: Sequence[BudgetItem], budget: int, longest: int) -> Selection:
    """Choose pieces of at most `longest` tokens each, `budget` tokens together.

    Domains take turns in the order of their first piece, each giving its pieces in the order given,
    as long as the budget holds a full round. In the last round each domain gives at most one piece (a
    domain that is alone may give several). First come pieces that must stay whole, chosen to fill the
    budget best (a subset sum); then pieces that may be cut, the last of which is cut to fit. So, until
    a domain is used up, no two domains differ by more than one piece.
    """
    too_long = [p for p in pieces if p.whole and p.tokens > longest]
    queues: dict[str, list[BudgetItem]] = {}
    for piece in pieces:
        if piece.tokens > 0 and not (piece.whole and piece.tokens > longest):
            queues.setdefault(piece.domain, []).append(piece)
    chosen: list[SelectedSample] = []
    left = budget
    while queues:
        turn = [SelectedSample(queue[0], min(queue[0].tokens, longest)) for queue in queues.values()]
        if sum(c.tokens for c in turn) > left:
            turn = _last_round(queues, left, longest)
            chosen += turn
            break
        chosen += turn
        left -= sum(c.tokens for c in turn)
        queues = {name: queue[1:] for name, queue in queues.items() if len(queue) > 1}
    used = {c.piece.id for c in chosen} | {p.id for p in too_long}
    return Selection(chosen, too_long, [p for p in pieces if p.id not in used])


def _last_round(queues: dict[str, list[BudgetItem]], left: int, longest: int) -> list[SelectedSample]:
    fixed = [[p for p in queue if p.whole] for queue in queues.values() if queue[0].whole]
    if len(queues) == 1:
        # Nothing is left to balance: the last domain may give several.
        fixed = [[piece] for pieces in fixed for piece in pieces]
    chosen = [SelectedSample(p, p.tokens) for p in _fill(fixed, left)]
    left -= sum(c.tokens for c in chosen)
    for queue in queues.values():
        if not queue[0].whole and left > 0:
            chosen.append(SelectedSample(queue[0], min(queue[0].tokens, longest, left)))
            left -= chosen[-1].tokens
    return chosen


def _fill(options: Sequence[Sequence[BudgetItem]], capacity: int) -> list[BudgetItem]:
    """At most one piece of each domain, so that their tokens come nearest to `capacity` from below."""
    within = (1 << capacity + 1) - 1
    # Bit s of reachable[d]: s tokens can be had from the first d domains.
    reachable = [1]
    for pieces in options:
        sums = reachable[-1]
        for size in {p.tokens for p in pieces}:
            sums |= reachable[-1] << size & within
        reachable.append(sums)
    total = reachable[-1].bit_length() - 1
    chosen: list[BudgetItem] = []
    for before, pieces in zip(reversed(reachable[:-1]), reversed(options), strict=True):
        fitting = (p for p in pieces if p.tokens <= total and before >> total - p.tokens & 1)
        piece = next(fitting, None)
        if piece is not None:
            chosen.append(piece)
            total -= piece.tokens
    return chosen[::-1]
