"""Turns winners into a calibration set: rendered, tokenised, selected under the budget, packed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faq_pipeline.calibration.fill import TOO_LITTLE
from faq_pipeline.calibration.pack import pack
from faq_pipeline.calibration.token_budget import BudgetItem, SelectedSample, Selection, select
from faq_pipeline.config.family import Family
from faq_pipeline.config.recipe import Calibration
from faq_pipeline.errors import FaqError
from faq_pipeline.prompting.rendering import Rendered, encode, render_sample
from faq_pipeline.regeneration.controls import original_candidates
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.store.records import Candidate, Sample, Seed, Standing, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Order = Callable[[Sequence[BudgetItem], Sequence[Sequence[int]]], list[BudgetItem]]
"""Pieces with their token ids, in the draw's order, to the order in which they are to be taken."""


@dataclass(frozen=True)
class Assembled:
    """A calibration set.

    Attributes:
        left_out: number of seeds without a sample, by reason.
        originals: tokens of seeds that went in as they were.
    """

    samples: list[Sample]
    rows: list[TokenRow]
    left_out: dict[str, int]
    originals: int

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(len(row.input_ids) for row in self.rows)

    @property
    def domain_shares(self) -> dict[str, float]:
        """Share of the tokens, by domain."""
        domains = sorted({s.domain for s in self.samples})
        counts = {d: sum(s.tokens for s in self.samples if s.domain == d) for d in domains}
        return {domain: count / self.tokens for domain, count in counts.items()}


@dataclass(frozen=True)
class _Draft:
    """A winner as text and as the target's tokens."""

    seed: Seed
    candidate: Candidate
    rendered: Rendered
    ids: list[int]


def winners_of(
    seeds: Iterable[Seed], corpus: Iterable[Candidate], standings: Iterable[Standing]
) -> list[Candidate]:
    """The winners, in the order of the seeds (which is the draw's)."""
    won = {s.candidate_id for s in standings if s.winner}
    by_seed = {c.seed_id: c for c in corpus if c.id in won}
    return [by_seed[seed.id] for seed in seeds if seed.id in by_seed]


def assemble(
    seeds: Sequence[Seed],
    winners: Iterable[Candidate],
    family: Family,
    calibration: Calibration,
    tokenizer: PreTrainedTokenizerBase,
    order: Order | None = None,
) -> Assembled:
    """Make the calibration set of the winners, and of the seeds' originals where the recipe wants some.

    Args:
        order: in which order winners are taken; the draw's where None. Originals come in the draw's.

    Raises:
        FaqError: nothing could be chosen.
    """
    length = calibration.sequence_length

    def drafted(candidates: Iterable[Candidate]) -> dict[str, _Draft]:
        return _drafts(seeds, candidates, family, calibration, tokenizer)

    kept, originals = Selection([], [], []), dict[str, _Draft]()
    if calibration.originals:
        originals = drafted(original_candidates(seeds, tokenizer))
        kept = select(_pieces(originals), int(calibration.originals * calibration.tokens), length)
    drafts = drafted(winners)
    pieces = _pieces(drafts)
    if order is not None:
        pieces = order(pieces, [draft.ids for draft in drafts.values()])
    selection = select(pieces, calibration.tokens - kept.tokens, length)
    left_out = {
        "no_winner": len(seeds) - len(drafts),
        "too_long": len(selection.too_long),
        "over_budget": len(selection.unused),
    }
    chosen = kept.chosen + selection.chosen
    if not chosen:
        reasons = ", ".join(f"{name}: {count}" for name, count in left_out.items())
        longer = "raise calibration.sequence_length"
        more = "raise regeneration.candidates or sampling.max_new_tokens, or check the answers of seeds"
        raise FaqError(
            f"no sample can enter the calibration set ({reasons})",
            hint=longer if selection.too_long else more,
            key=TOO_LITTLE,
        )
    samples, rows = _packed(chosen, {**originals, **drafts}, length, tokenizer)
    return Assembled(samples, rows, left_out, kept.tokens)


def _drafts(
    seeds: Sequence[Seed],
    candidates: Iterable[Candidate],
    family: Family,
    calibration: Calibration,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, _Draft]:
    """Candidates as text and tokens, by id, in the order given."""
    by_id = {seed.id: seed for seed in seeds}
    drafts: dict[str, _Draft] = {}
    for candidate in candidates:
        seed = by_id[candidate.seed_id]
        rendered = render_sample(
            seed, candidate, family, calibration.template, tokenizer, calibration.reasoning
        )
        drafts[candidate.id] = _Draft(seed, candidate, rendered, encode(tokenizer, rendered))
    return drafts


def _pieces(drafts: Mapping[str, _Draft]) -> list[BudgetItem]:
    return [BudgetItem(i, d.seed.domain, len(d.ids), d.rendered.whole) for i, d in drafts.items()]


def _packed(
    chosen: Sequence[SelectedSample],
    drafts: Mapping[str, _Draft],
    length: int,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[list[Sample], list[TokenRow]]:
    samples: list[Sample] = []
    rows: list[TokenRow] = []
    for number, indices in enumerate(pack([c.tokens for c in chosen], length)):
        ids: list[int] = []
        for index in indices:
            draft, kept = drafts[chosen[index].piece.id], chosen[index].tokens
            cut = kept < len(draft.ids)
            text = tokenizer.decode(draft.ids[:kept]) if cut else draft.rendered.text
            samples.append(_sample(draft, number, len(ids), kept, str(text)))
            ids += draft.ids[:kept]
        rows.append(TokenRow(number, ids))
    return samples, rows


def _sample(draft: _Draft, row: int, start: int, tokens: int, text: str) -> Sample:
    return Sample(
        id=short_hash(f"{draft.candidate.id}|{text}".encode()),
        candidate_id=draft.candidate.id,
        seed_id=draft.seed.id,
        domain=draft.seed.domain,
        row=row,
        start=start,
        tokens=tokens,
        text=text,
    )
