"""An lm-eval model for transformers that records the raw replies before lm-eval strips them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.models.huggingface import HFLM

from faq_pipeline.config.family import Thinking
from faq_pipeline.evaluation.drafts import Drafts, accept_drafts
from faq_pipeline.evaluation.generation import GenerationRow, Limits, continue_rows
from faq_pipeline.evaluation.replies import Recording, Wanted
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class RecordingLM(Recording, HFLM):  # type: ignore[misc]
    """An HFLM that records raw replies in `replies` and removes finished rows from batches.

    The model's end tokens end a row; other stop strings of a task are checked between rounds. `drafts`
    make greedy answers faster without changing them.
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
        _reset_generation_config(model)
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            think_end_token=thinking.close,
            chat_template_args=dict(thinking.template_kwargs),
        )
        self._drafts = drafts or {}
        self.record(thinking, progress)

    @property
    def context(self) -> int:
        """Maximum number of tokens of prompt and reply, from the model's configuration."""
        return int(self.max_length)

    def get_model_info(self) -> dict[str, Any]:
        """Empty: HFLM would query the hub, although the model is in memory."""
        return {}

    def write(self, requests: Sequence[Instance], prompts: list[list[int]], wanted: Wanted) -> list[str]:
        """Generate the replies in batches, starting from drafts if there are any."""
        single, text_stops = self.split_stops(wanted.until)
        limits = Limits(
            max_new_tokens=wanted.limit,
            batch_size=int(self.batch_size),
            end_ids=tuple(sorted({*self._ends, *single.values()})),
            pad_id=self.tokenizer.pad_token_id,
            stopped=lambda row: bool(text_stops) and self._is_stopped(row, text_stops),
            options=wanted.options,
        )
        rows = [GenerationRow(prompt) for prompt in prompts]
        if not wanted.options.get("do_sample"):
            drafts = [self._drafts.get((q.task_name, q.doc_id), []) for q in requests]
            accept_drafts(self.model, rows, drafts, limits, self._progress.advance)
        continue_rows(self.model, rows, limits, self._progress.advance)
        return [self._keep(q, row, limits, wanted) for q, row in zip(requests, rows, strict=True)]

    def _keep(self, request: Instance, row: GenerationRow, limits: Limits, wanted: Wanted) -> str:
        marked = bool(row.ids) and row.ids[-1] in limits.end_ids
        text = self._text(row.ids[:-1] if marked else row.ids)
        return self.keep(request, row.prompt, row.ids, text, row.ended, wanted.until)

    def _is_stopped(self, row: GenerationRow, stops: list[str]) -> bool:
        return self.is_stopped(self._text(row.prompt[-8:]), self._text(row.ids), stops)

    def _text(self, ids: list[int]) -> str:
        # Special tokens are kept: the thinking tags may be among them.
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    config = getattr(model, "generation_config", None)
    ids = config.eos_token_id if config is not None else None
    listed = ids if isinstance(ids, list) else [ids]
    return tuple(i for i in [*listed, tokenizer.eos_token_id] if i is not None)


def _reset_generation_config(model: PreTrainedModel) -> None:
    """Drop the member's sampling defaults, from which `generate` would fill unset options."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(use_cache=True)
