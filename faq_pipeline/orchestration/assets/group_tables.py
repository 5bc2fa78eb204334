"""Groups of candidates as Markdown: the seed, then a table of its candidates."""

from collections.abc import Iterable, Sequence

from faq_pipeline.orchestration.assets.metadata import markdown_table, plain
from faq_pipeline.store.records import Candidate, Score, Seed, Standing

EACH_KIND = 2
"""Number of groups shown of each kind of seed."""


def some_seeds(seeds: Iterable[Seed]) -> list[Seed]:
    """The first seeds of each kind."""
    seeds = list(seeds)
    kinds = dict.fromkeys(seed.kind for seed in seeds)
    return [seed for kind in kinds for seed in [s for s in seeds if s.kind == kind][:EACH_KIND]]


def candidates_of(seed: Seed, candidates: Iterable[Candidate]) -> str:
    """One seed and its candidates."""
    rows = [
        {"tokens": c.tokens, "finish": c.finish, "candidate": c.text}
        for c in candidates
        if c.seed_id == seed.id
    ]
    return f"{heading(seed)}\n\n{markdown_table(rows)}"


def standings_of(
    seed: Seed, candidates: Iterable[Candidate], standings: Sequence[Standing], scores: Sequence[Score]
) -> str:
    """One group after its competition: every expert's score for every candidate, best first."""
    texts = {c.id: c.text for c in candidates}
    experts = list(dict.fromkeys(score.expert for score in scores))
    given = {(s.candidate_id, s.expert): s.normalised for s in scores}
    rows = [
        {
            "": "winner" if s.winner else str(s.place),
            "total": _score(s.total),
            **{name.replace("_", " "): _score(given.get((s.candidate_id, name))) for name in experts},
            "candidate": texts[s.candidate_id],
        }
        for s in sorted(standings, key=lambda s: s.place)
        if s.seed_id == seed.id
    ]
    return f"{heading(seed)}\n\n{markdown_table(rows)}"


def heading(seed: Seed) -> str:
    """A seed in one line, with its given answer if it has one."""
    given = "" if seed.answer is None else f" *(given answer: {plain(seed.answer)})*"
    return f"**{plain(seed.id)}**, {seed.kind}: {plain(seed.text)}{given}"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
