"""The order in which a selector takes samples, with domains taking turns."""

from __future__ import annotations

from collections.abc import Sequence

from faq_pipeline.calibration.selectors.protocol import Chooser
from faq_pipeline.calibration.token_budget import BudgetItem


def ordered(pieces: Sequence[BudgetItem], chooser: Chooser, budget: int, longest: int) -> list[BudgetItem]:
    """The pieces as `select` should be given them.

    Domains take turns in the order of their first piece, until the budget is spent; pieces that are
    left then follow in the draw's order, and `select` fills the last round with the best fitting.

    Args:
        chooser: names pieces by their place in `pieces`.
    """
    queues: dict[str, list[int]] = {}
    for index, piece in enumerate(pieces):
        if piece.tokens > 0 and not (piece.whole and piece.tokens > longest):
            queues.setdefault(piece.domain, []).append(index)
    taken: list[int] = []
    spent = 0
    while spent < budget and any(queues.values()):
        for queue in filter(None, queues.values()):
            index = chooser.best(queue)
            chooser.take(index)
            queue.remove(index)
            taken.append(index)
            spent += min(pieces[index].tokens, longest)
    rest = set(range(len(pieces))) - set(taken)
    return [pieces[index] for index in (*taken, *sorted(rest))]
