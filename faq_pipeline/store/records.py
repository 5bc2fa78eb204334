"""The records that cross between stages, and the tables that hold them.

Ids are hashes of content, so equal outputs have equal bytes. `store/tables.py` writes and reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["question", "text"]


@dataclass(frozen=True)
class Seed:
    """One seed sample. `answer` is the terse given answer, where there is one."""

    id: str
    text: str
    kind: Kind
    answer: str | None
    domain: str
    source: str
    licence: str


@dataclass(frozen=True)
class Candidate:
    """One candidate of a seed's group.

    Attributes:
        position: 0..K-1 within the group.
        source: teacher, self, original or random.
        model: `name@rev8` of the model that wrote it; None for `original` and `random`.
        prompt: the text that the model continued, in the model's own template; empty if none.
        text: the raw continuation as generated, end marks left out.
        reasoning, answer: the continuation split at its thinking marks.
        tokens: length of `text` (with its end mark) in the writing model's tokens.
        logprob: summed log-probability (nats) of those tokens under the writing model, at
            temperature 1; None where no model wrote it.
        finish: `stop`, `length` (cut at the limit), `error` (none came: see Failed) or `given` (not
            generated).
    """

    id: str
    seed_id: str
    position: int
    source: str
    model: str | None
    prompt: str
    text: str
    reasoning: str
    answer: str
    tokens: int
    logprob: float | None
    finish: str


@dataclass(frozen=True)
class Failed:
    """Why the engine gave no text for a candidate, in one line."""

    candidate_id: str
    seed_id: str
    position: int
    error: str


@dataclass(frozen=True)
class Score:
    """One expert's verdict on one candidate; both figures are None where the expert abstains."""

    candidate_id: str
    seed_id: str
    expert: str
    raw: float | None
    normalised: float | None


@dataclass(frozen=True)
class Standing:
    """A candidate's place in its group. `total` is None where no expert could score it."""

    candidate_id: str
    seed_id: str
    total: float | None
    place: int
    winner: bool


@dataclass(frozen=True)
class Sample:
    """One calibration sample: a winner, rendered for the target, within row `row` from token `start`."""

    id: str
    candidate_id: str
    seed_id: str
    domain: str
    row: int
    start: int
    tokens: int
    text: str


@dataclass(frozen=True)
class TokenRow:
    """One calibration sequence as the quantizer sees it."""

    row: int
    input_ids: list[int]


@dataclass(frozen=True)
class Trace:
    """One of the target's own generations: prompt and continuation in its own tokens."""

    id: str
    domain: str
    input_ids: list[int]
    prompt_tokens: int


@dataclass(frozen=True)
class ChannelMismatch:
    """Fitness of one linear layer's input: mean squared log-ratio of second moments over channels."""

    module: str
    layer: int
    channels: int
    mismatch: float


@dataclass(frozen=True)
class LayerExcess:
    """Excess error (`activations.excess_error`), in ln, of the `readers` linear layers that read one input;
    `module` is the first of them."""

    module: str
    readers: int
    excess: float


@dataclass(frozen=True)
class RoutedTokens:
    """Tokens of the calibration set that a router sends to one expert; `module` holds all of its block."""

    module: str
    layer: int
    expert: int
    tokens: int


@dataclass(frozen=True)
class CheckpointRow:
    """A quantized checkpoint. Sizes in bytes."""

    target: str
    method: str
    scheme: str
    group_size: str
    bytes: int
    original_bytes: int


@dataclass(frozen=True)
class PlannedLayer:
    """A layer of a bit plan: one that inference engines fuse counts as one.

    Attributes:
        modules: how many modules it is made of.
        weights: of all of them.
        cost: KL divergence per token, in nats, when it alone is quantized to `bits`.
    """

    layer: str
    modules: int
    weights: int
    bits: int
    cost: float


@dataclass(frozen=True)
class QuantizedLayer:
    """A quantized layer of a checkpoint, and what rounding did to it.

    Attributes:
        weights: how many it has.
        bits: of a weight, without its scale.
        tokens: calibration tokens that reached it; None where the method does not count them.
        error: tr(E H E^T) / tr(W H W^T), E being the change of the weight W, and H the sum of x x^T over
            its calibrated inputs; None where the method has no H.
        fallback: whether H could not be inverted, and the layer was rounded to nearest.
        stored_bits: of a weight, with scales, zero points and the layer's adapter; None in reports of earlier
            versions.
        compensated_error: `error` with the layer's adapter; None where it has none.
    """

    module: str
    weights: int
    bits: int
    tokens: int | None
    error: float | None
    fallback: bool
    stored_bits: float | None = None
    compensated_error: float | None = None


@dataclass(frozen=True)
class Answer:
    """One evaluated question, joined between models on (task, doc_hash, filter).

    Attributes:
        domain: what the document's own field `domain` (or `task`) says, else the task's name.
        response: the raw generation, reasoning included; the chosen option where none was generated.
        correct: the task's main metric, 0..1.
        tokens: generated tokens, end mark included.
        truncated: cut at the limit, or its reasoning never ended.
    """

    task: str
    domain: str
    doc_id: int
    doc_hash: str
    filter: str
    prompt_hash: str
    target: str
    response: str
    correct: float
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class ReplyTokens:
    """What the reference wrote to a question, in its own tokens: a draft for the quantized model."""

    task: str
    doc_id: int
    ids: list[int]


@dataclass(frozen=True)
class SequenceDivergence:
    """KL(reference || quantized) summed over one held-out sequence, in nats; `scope` as in Evaluation."""

    scope: str
    sequence: int
    tokens: int
    nats: float


@dataclass(frozen=True)
class EvaluationRow:
    """One figure of an evaluation, with its 95% interval where it has one.

    `scope` is `all`, a task's name, `traces` or `prose`.
    """

    scope: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int


TABLES: dict[str, type] = {
    "seeds": Seed,
    "candidates": Candidate,
    "scores": Score,
    "standings": Standing,
    "samples": Sample,
    "fitness": ChannelMismatch,
    "checkpoints": CheckpointRow,
    "evaluations": EvaluationRow,
}
"""Lineage tables: `<name>.parquet` at the top of an artifact is indexed under that name."""

RECORDS: dict[str, type] = {
    **TABLES,
    "failed": Failed,
    "rows": TokenRow,
    "plan": PlannedLayer,
    "plan_costs": PlannedLayer,
    "layers": QuantizedLayer,
    "traces": Trace,
    "answers": Answer,
    "reference_answers": Answer,
    "replies": ReplyTokens,
    "divergence": SequenceDivergence,
    "excess": LayerExcess,
}
"""All tables of the pipeline's artifacts: `<name>.parquet` at the top of one holds such records."""
