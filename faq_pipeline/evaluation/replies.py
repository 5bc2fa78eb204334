"""Record a model's raw replies and return the text that lm-eval scores, for any engine."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

from faq_pipeline.config.family import Thinking
from faq_pipeline.errors import FaqError
from faq_pipeline.models.chat import is_thinking
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Reply:
    """The model's reply to one question: token ids including the end token, raw text without it."""

    prompt: list[int]
    ids: list[int]
    text: str
    truncated: bool


@dataclass(frozen=True)
class Wanted:
    """The generation settings of a task.

    Attributes:
        limit: maximum number of new tokens.
        until: stop strings.
        options: other options of `generate`, such as those of sampling.
    """

    limit: int
    until: list[str]
    options: dict[str, Any]


class Recording:
    """A mixin for lm-eval models that records raw replies in `replies`. List it before the model class.

    A task's stop strings apply only after the reasoning, as in lm-eval's own postprocessing.
    """

    tokenizer: PreTrainedTokenizerBase

    def record(self, thinking: Thinking, progress: Progress) -> None:
        """Start recording. Call it before the first question."""
        self._thinking, self._progress = thinking, progress
        self.replies: dict[tuple[str, int], Reply] = {}
        """Replies by (task, doc_id)."""

    @property
    @abstractmethod
    def context(self) -> int:
        """Maximum number of tokens of prompt and reply."""

    @abstractmethod
    def write(self, requests: Sequence[Instance], prompts: list[list[int]], wanted: Wanted) -> list[str]:
        """Reply to requests with the same settings. Pass each reply to `keep`, and return its results."""

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text that lm-eval scores for each request: without reasoning, cut at stop strings."""
        self._progress.start("questions", len(requests))
        scored: dict[int, str] = {}
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(index)
        for options, indices in groups.items():
            wanted = _wanted(json.loads(options))
            asked = [requests[i] for i in indices]
            prompts = [self.tok_encode(request.args[0]) for request in asked]  # type: ignore[attr-defined]
            self._check_room(asked, prompts, wanted.limit)
            scored.update(zip(indices, self.write(asked, prompts, wanted), strict=True))
        return [scored[index] for index in range(len(requests))]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """lm-eval's own method, without its progress bars."""
        self._progress.start("options", len(requests))
        scores: list[tuple[float, bool]] = super().loglikelihood(  # type: ignore[misc]
            requests, disable_tqdm=True
        )
        self._progress.advance(len(requests))
        return scores

    def keep(
        self, request: Instance, prompt: list[int], ids: list[int], text: str, ended: bool, until: list[str]
    ) -> str:
        """Record a reply and return the text that lm-eval scores.

        Args:
            ended: whether the reply ended before the limit.
            until: the task's stop strings.
        """
        truncated = not ended or self.is_thinking(request.args[0], text)
        reply = Reply(prompt, ids, text, truncated)
        self.replies.setdefault((request.task_name, request.doc_id), reply)
        scored: str = postprocess_generated_text(text, until, self._thinking.close)
        return scored

    def is_thinking(self, prompt: str, text: str) -> bool:
        """Whether the reasoning was opened, by the model or the template, but not closed."""
        return is_thinking(prompt, text, self._thinking)

    def is_stopped(self, prompt: str, text: str, stops: Sequence[str]) -> bool:
        """Whether a stop string occurs after the reasoning."""
        if not stops or self.is_thinking(prompt, text):
            return False
        answer = text.split(self._thinking.close)[-1].lstrip()
        return any(stop in answer for stop in stops)

    def split_stops(self, until: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """Split stop strings into special tokens, with their ids, and other strings."""
        special = dict(zip(self.tokenizer.all_special_tokens, self.tokenizer.all_special_ids, strict=True))
        return {s: special[s] for s in until if s in special}, [s for s in until if s not in special]

    def _check_room(self, requests: Sequence[Instance], prompts: list[list[int]], limit: int) -> None:
        for request, prompt in zip(requests, prompts, strict=True):
            if len(prompt) + limit > self.context:
                raise FaqError(
                    f"question {request.doc_id} of {request.task_name} has {len(prompt)} tokens;"
                    f" with {limit} new tokens it exceeds the context of {self.context}",
                    hint="lower evaluation.max_new_tokens",
                )


def _wanted(options: dict[str, Any]) -> Wanted:
    kwargs: dict[str, Any] = dict(normalize_gen_kwargs(options))
    limit, until = kwargs.pop("max_gen_toks"), [stop for stop in kwargs.pop("until") if stop]
    if not kwargs.get("do_sample"):
        kwargs.pop("temperature", None)
    return Wanted(limit, until, kwargs)
