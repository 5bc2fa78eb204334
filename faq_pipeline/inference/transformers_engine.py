"""The engine `transformers`: batches through `generate` in this process, on a CPU or one GPU."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.inference.engine import Completion, Request, Unit
from faq_pipeline.models.device import compute_identity
from faq_pipeline.models.loading import load_model, load_tokenizer, release
from faq_pipeline.models.precision import precision_for
from faq_pipeline.models.weights import Weights
from faq_pipeline.store.fingerprint import short_hash, tool_version
from faq_pipeline.util.seeded_choice import hashed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class TransformersEngine:
    """One member in memory. Requests are sorted by prompt length and sampled in left-padded batches.

    `generate` takes no generator of its own, so a batch has one seed, made from its requests'
    seeds. A sample therefore depends on its batch: the same requests, batch size, versions and
    device give the same samples, but a lost sample can only be made again with its whole batch.
    Greedy samples depend on it by rounding alone.
    """

    weights: Weights
    device: str
    batch_size: int
    _model: PreTrainedModel | None = field(default=None, repr=False)

    def identity(self) -> dict[str, Any]:
        """Engine, versions, dtype, batch size, device and threads; without loading torch."""
        return {
            "engine": "transformers",
            "torch": tool_version("torch"),
            "transformers": tool_version("transformers"),
            "dtype": precision_for(self.weights.member, self.device),
            "batch_size": self.batch_size,
            **compute_identity(self.weights.member, self.device),
        }

    @property
    def repeats(self) -> bool:
        """Whether equal units give equal bytes: on one kind of machine they do."""
        return True

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        tokenizer = load_tokenizer(self.weights)
        tokenizer.padding_side = "left"
        return tokenizer

    def __enter__(self) -> Self:
        from faq_pipeline.inference.decoding import forget_sampling_defaults

        self._model = load_model(self.weights, self.device)
        forget_sampling_defaults(self._model, self._tokenizer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._model = None
        release()

    def units(self, requests: Iterable[Request]) -> list[Unit]:
        """Batches, longest prompts first (so that memory fails early or never)."""
        waiting = list(requests)
        if not waiting:
            return []
        ids = self._tokenizer([r.prompt for r in waiting], add_special_tokens=False)["input_ids"]
        length = {request.id: len(these) for request, these in zip(waiting, ids, strict=True)}
        waiting.sort(key=lambda request: (-length[request.id], request.prompt, request.id))
        batches = [waiting[i : i + self.batch_size] for i in range(0, len(waiting), self.batch_size)]
        return [Unit(tuple(batch), _salt(batch)) for batch in batches]

    def generate(self, units: Sequence[Unit], sampling: Sampling) -> Iterator[Completion]:
        """Completions, batch by batch."""
        if self._model is None:
            raise RuntimeError("the engine generates only inside its 'with' block")
        for unit in units:
            yield from self._batch(unit.requests, sampling)

    def figures(self) -> dict[str, Any]:
        """How many GPUs the work takes."""
        return {"gpus": int(self.device != "cpu")}

    def _batch(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        import torch

        from faq_pipeline.inference.decoding import continue_batch

        assert self._model is not None
        tokenizer, device = self._tokenizer, self._model.device
        inputs = tokenizer(
            [request.prompt for request in requests],
            add_special_tokens=False,
            padding=True,
            return_tensors="pt",
        ).to(device)
        ids = inputs["input_ids"]
        devices = [] if device.type == "cpu" else [device]
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(hashed("batch", *(request.seed for request in requests)))
            rows = continue_batch(self._model, ids, inputs["attention_mask"], sampling)
        return [
            Completion(
                request_id=request.id,
                text=_decode(tokenizer, last, row.ids[: len(row.ids) - row.ended]),
                tokens=len(row.ids),
                logprob=row.logprob,
                finish="stop" if row.ended else "length",
            )
            for request, last, row in zip(requests, ids[:, -1].tolist(), rows, strict=True)
        ]


def _salt(batch: Sequence[Request]) -> str:
    """All that the samples of a batch share: its prompts pad each other, its seeds make its own."""
    return short_hash(json.dumps([[r.prompt, r.seed] for r in batch]).encode())


def _decode(tokenizer: PreTrainedTokenizerBase, last: int, ids: list[int]) -> str:
    """The continuation as text: `last`, the prompt's last token, keeps a leading space in its place.

    Tokenizers with word-start marks drop the space of the first token that they decode.
    """

    def text(these: list[int]) -> str:
        return str(tokenizer.decode(these, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    before, whole = text([last]), text([last, *ids])
    return whole[len(before) :] if whole.startswith(before) else text(ids)
