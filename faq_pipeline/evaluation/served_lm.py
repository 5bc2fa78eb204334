"""An lm-eval model for our own vLLM server, which records replies like the model in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import ClientError
from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalCompletionsAPI
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from faq_pipeline.config.family import Thinking
from faq_pipeline.config.recipe import Sampling
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.harness import SEED
from faq_pipeline.evaluation.quiet import quiet_lm_eval_requests
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
TIMEOUT = 3600
"""Timeout of one such request in seconds, including its time in the server's queue."""
TRIES = 4
"""How often all log-likelihoods are requested if the server is lost meanwhile."""
WITHOUT_EFFECT = {"do_sample", "top_p", "top_k", "min_p", "typical_p"}
"""Options that have no effect on greedy decoding."""
SAMPLED = {"do_sample", "temperature", "top_p"}
"""Sampling options that the engine supports."""


class ServedLM(Recording, LocalCompletionsAPI):  # type: ignore[misc]
    """lm-eval's client for a completions server, with the same prompts as RecordingLM.

    Log-likelihoods use lm-eval's own code. Replies come through the engine, which tolerates a restart of
    the server. They are generated up to the model's own end token: other stop strings may cut only the
    text after the reasoning, but a server would cut the reasoning too.
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
            num_concurrent=CONCURRENT,
            max_length=engine.context,
            timeout=TIMEOUT,
            header={"Content-Type": "application/json"},  # otherwise it sends an API key
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

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """lm-eval's own method, repeated if the server is lost meanwhile.

        Raises:
            FaqError: the server failed for good, or refuses the requests.
        """
        again = Retrying(
            retry=retry_if_exception_type((ClientError, TimeoutError)),
            stop=stop_after_attempt(TRIES),
            before=lambda state: self._find_server(),
            reraise=True,
        )
        try:
            with quiet_lm_eval_requests():
                return again(super().loglikelihood, requests)
        except (ClientError, TimeoutError) as error:
            raise FaqError(f"the server returned no log-likelihoods: {error}") from error

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

    def _find_server(self) -> None:
        """Wait until the server is ready, and update its address."""
        self._engine.server.wait_ready()
        self.base_url = f"{self._engine.server.base_url}/completions"

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
