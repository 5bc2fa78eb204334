"""An lm-eval model for our own vLLM server, which records replies like the model in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalCompletionsAPI

from faq_pipeline.config.family import Thinking
from faq_pipeline.config.recipe import Sampling
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.harness import SEED
from faq_pipeline.evaluation.replies import Recording, Wanted
from faq_pipeline.inference.engine import Completion, Request, ServedEngine
from faq_pipeline.inference.factory import IN_PROCESS
from faq_pipeline.models.retokenize import written_ids
from faq_pipeline.util.progress import Progress
from faq_pipeline.util.seeded_choice import hashed

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase

CONCURRENT = 64
"""Maximum number of concurrent log-likelihood requests; responses are large, with a row per token."""
WITHOUT_EFFECT = {"do_sample", "top_p", "top_k", "min_p", "typical_p"}
"""Options that have no effect on greedy decoding."""
SAMPLED = {"do_sample", "temperature", "top_p"}
"""Sampling options that the engine supports."""


class ServedLM(Recording, LocalCompletionsAPI):  # type: ignore[misc]
    """lm-eval's client for a completions server, with the same prompts as RecordingLM.

    Only lm-eval's prompts and sums are used. Requests go through the engine, whose client bounds answers,
    checks them, and tolerates a restart of the server. Replies are generated up to the model's own end
    token: other stop strings may cut only the text after the reasoning, but a server would cut the
    reasoning too.
    """

    # Same prompt text and tokens as HFLM: with the family's template arguments, or with the tokenizer's
    # start token if there is no template.
    tok_encode = HFLM.tok_encode
    apply_chat_template = HFLM.apply_chat_template

    def __init__(
        self,
        engine: ServedEngine,
        tokenizer: PreTrainedTokenizerBase,
        thinking: Thinking,
        progress: Progress,
    ) -> None:
        super().__init__(
            model=engine.server.name,
            base_url=f"{engine.server.base_url}/completions",
            tokenizer_backend=None,  # it would load the tokenizer again
            max_length=engine.context,
        )
        self.tokenizer, self.tokenizer_backend, self.tokenized_requests = tokenizer, "huggingface", True
        self.add_bos_token = None
        self.chat_template_args = dict(thinking.template_kwargs)
        self._engine = engine
        self.record(thinking, progress)

    @property
    def context(self) -> int:
        """Maximum number of tokens of prompt and reply that the server was started for."""
        return self._engine.context

    def write(self, requests: Sequence[Instance], prompts: list[list[int]], wanted: Wanted) -> list[str]:
        """Generate the replies; the result has the order of the requests."""
        asked = [
            Request(str(index), self._as_text(request.args[0], prompt), _seed(request))
            for index, (request, prompt) in enumerate(zip(requests, prompts, strict=True))
        ]
        scored = [""] * len(asked)
        for completion in self._engine.generate(self._engine.units(asked), _sampling(wanted)):
            index = int(completion.request_id)
            scored[index] = self._keep(requests[index], prompts[index], completion, wanted)
            self._progress.advance(1)
        return scored

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """The sum of the log-probabilities of each continuation, and whether it is the greedy one.

        Raises:
            FaqError: the server failed for good, or refuses a request.
        """
        prompts, lengths, _keys = self.batch_loglikelihood_requests([requests])
        found: dict[int, tuple[float, bool]] = {}
        for index, answer in self._engine.echoes(prompts, CONCURRENT):
            if isinstance(answer, str):
                raise FaqError(f"the server returned no log-likelihoods: {answer}")
            found[index] = self.parse_logprobs(outputs=answer, ctxlens=[lengths[index]])[0]
        return [found[index] for index in range(len(prompts))]

    def _keep(self, request: Instance, prompt: list[int], completion: Completion, wanted: Wanted) -> str:
        if completion.finish == "error":
            raise FaqError(
                f"question {request.doc_id} of {request.task_name} has no answer: {completion.error}"
            )
        text, mark = self._cut(completion, wanted)
        encode = partial(self.tok_encode, add_special_tokens=False)
        ids = [*written_ids(encode, request.args[0], text), *mark]
        _, stops = self.split_stops(wanted.until)
        whole = completion.finish == "stop" or bool(mark)
        ended = whole or self.is_stopped(request.args[0], text, stops)
        return self.keep(request, prompt, ids, text, ended, wanted.until)

    def _cut(self, completion: Completion, wanted: Wanted) -> tuple[str, list[int]]:
        """The reply up to its end token, and that token: a stop token of the task or the model's own."""
        single, _ = self.split_stops(wanted.until)
        found = [(completion.text.index(stop), i) for stop, i in single.items() if stop in completion.text]
        if found:
            place, mark = min(found)
            return completion.text[:place], [mark]
        own = self.tokenizer.eos_token_id
        return completion.text, [own] if completion.finish == "stop" and own is not None else []

    def _as_text(self, text: str, prompt: list[int]) -> str:
        """The text that a server which adds no special tokens encodes to `prompt`."""
        start = self.tokenizer.bos_token_id
        added = start is not None and prompt[:1] == [start] and not text.startswith(self.tokenizer.bos_token)
        return f"{self.tokenizer.bos_token}{text}" if added else text


def _sampling(wanted: Wanted) -> Sampling:
    options = wanted.options
    known = SAMPLED if options.get("do_sample") else WITHOUT_EFFECT
    if unknown := sorted(options.keys() - known):
        raise FaqError(
            f"a task sets {unknown[0]!r}, which engines with a server do not support",
            hint=f"set evaluation.engine: {IN_PROCESS}",
        )
    if not options.get("do_sample"):
        return Sampling(temperature=0, max_new_tokens=wanted.limit)
    chosen = {"temperature": 1.0} | {k: v for k, v in options.items() if k != "do_sample"}
    return Sampling(max_new_tokens=wanted.limit, **chosen)


def _seed(request: Instance) -> int:
    return hashed("question", SEED, request.task_name, request.doc_id, request.idx)
