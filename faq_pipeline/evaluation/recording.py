"""lm-eval's model for transformers, keeping what the model wrote before lm-eval strips it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

from faq_pipeline.config.family import Thinking
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.drafts import Drafts, accept_drafts
from faq_pipeline.evaluation.generation import Limits, Row, continue_rows
from faq_pipeline.progress import Progress

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Reply:
    """What the model wrote to one question: tokens with the end mark, raw text without it."""

    prompt: list[int]
    ids: list[int]
    text: str
    truncated: bool


class RecordingLM(HFLM):  # type: ignore[misc]
    """HFLM whose generations stop at end marks, are kept raw in `replies`, and leave batches early.

    The model's end tokens stop a row; other stop strings of a task are looked for between rounds and
    only after the reasoning, as lm-eval itself reads the text. `drafts` make greedy answers faster
    without changing them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int,
        thinking: Thinking,
        progress: Progress,
        drafts: Drafts | None = None,
    ) -> None:
        self._ends = _end_ids(model, tokenizer)
        _forget_sampling_defaults(model)
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            think_end_token=thinking.close,
            chat_template_args=dict(thinking.template_kwargs),
        )
        self._thinking, self._progress, self._drafts = thinking, progress, drafts or {}
        self.replies: dict[tuple[str, int], Reply] = {}
        """By (task, doc_id)."""

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text that lm-eval scores for each request: reasoning stripped, cut at stop strings."""
        self._progress.start("questions", len(requests))
        replies: dict[int, str] = {}
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(index)
        for options, indices in groups.items():
            texts = self._group([requests[i] for i in indices], json.loads(options))
            replies.update(zip(indices, texts, strict=True))
        return [replies[index] for index in range(len(requests))]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As HFLM's, without its progress bars."""
        self._progress.start("options", len(requests))
        scores: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        self._progress.advance(len(requests))
        return scores

    def get_model_info(self) -> dict[str, Any]:
        """Nothing: HFLM would ask the hub about a model that is in memory."""
        return {}

    def _group(self, requests: Sequence[Instance], options: dict[str, Any]) -> list[str]:
        """Requests with the same generation options."""
        kwargs: dict[str, Any] = dict(normalize_gen_kwargs(options))
        limit, until = kwargs.pop("max_gen_toks"), [stop for stop in kwargs.pop("until") if stop]
        if not kwargs.get("do_sample"):
            kwargs.pop("temperature", None)
        single, text_stops = self._split_stops(until)
        limits = Limits(
            max_new_tokens=limit,
            batch_size=int(self.batch_size),
            end_ids=tuple(sorted({*self._ends, *single})),
            pad_id=self.tokenizer.pad_token_id,
            stopped=lambda row: self._is_stopped(row, text_stops),
            options=kwargs,
        )
        rows = [Row(self.tok_encode(request.args[0])) for request in requests]
        self._check_room(requests, rows, limit)
        if not kwargs.get("do_sample"):
            drafts = [self._drafts.get((q.task_name, q.doc_id), []) for q in requests]
            accept_drafts(self.model, rows, drafts, limits, self._progress.advance)
        continue_rows(self.model, rows, limits, self._progress.advance)
        return [self._keep(q, row, limits, until) for q, row in zip(requests, rows, strict=True)]

    def _keep(self, request: Instance, row: Row, limits: Limits, until: list[str]) -> str:
        ended = bool(row.ids) and row.ids[-1] in limits.end_ids
        text = self._text(row.ids[:-1] if ended else row.ids)
        truncated = not row.ended or self._is_thinking(request.args[0], text)
        reply = Reply(row.prompt, row.ids, text, truncated)
        self.replies.setdefault((request.task_name, request.doc_id), reply)
        scored: str = postprocess_generated_text(text, until, self._thinking.close)
        return scored

    def _is_thinking(self, prompt: str, text: str) -> bool:
        """Whether the reasoning was opened, by the model or by the template, and never closed."""
        opened = self._thinking.open in text or prompt.rstrip().endswith(self._thinking.open)
        return opened and self._thinking.close not in text

    def _is_stopped(self, row: Row, stops: list[str]) -> bool:
        if not stops:
            return False
        text = self._text(row.ids)
        if self._is_thinking(self._text(row.prompt[-8:]), text):
            return False
        answer = text.split(self._thinking.close)[-1].lstrip()
        return any(stop in answer for stop in stops)

    def _split_stops(self, until: list[str]) -> tuple[list[int], list[str]]:
        """Stop strings that are one special token each, and the others."""
        special = dict(zip(self.tokenizer.all_special_tokens, self.tokenizer.all_special_ids, strict=True))
        return [special[s] for s in until if s in special], [s for s in until if s not in special]

    def _check_room(self, requests: Sequence[Instance], rows: Sequence[Row], limit: int) -> None:
        for request, row in zip(requests, rows, strict=True):
            if len(row.prompt) + limit > self.max_length:
                raise FaqError(
                    f"question {request.doc_id} of {request.task_name} takes {len(row.prompt)} tokens;"
                    f" with {limit} new ones it exceeds the context of {self.max_length}",
                    mend="lower evaluation.max_new_tokens",
                )

    def _text(self, ids: list[int]) -> str:
        # Special tokens stay: thinking marks may be among them.
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False)
        return text


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    config = getattr(model, "generation_config", None)
    ids = config.eos_token_id if config is not None else None
    listed = ids if isinstance(ids, list) else [ids]
    return tuple(i for i in [*listed, tokenizer.eos_token_id] if i is not None)


def _forget_sampling_defaults(model: PreTrainedModel) -> None:
    """Greedy means greedy: `generate` would fill unset options (penalties, say) from the member's own."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(use_cache=True)
