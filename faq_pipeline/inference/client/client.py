"""Client of model servers: an ordinary iterator outside, asyncio and the OpenAI client inside."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakSet

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.inference.client.async_bridge import Outlet, iterate
from faq_pipeline.inference.client.concurrency import ConcurrencyControl
from faq_pipeline.inference.client.connection_limit import sockets_for
from faq_pipeline.inference.client.dispatcher import Dispatcher, Figures, Job
from faq_pipeline.inference.client.load_balancer import LoadBalancer, Peer, RetryPolicy
from faq_pipeline.inference.client.responses import read_chat, read_completion, read_echo, read_prompt_logprob
from faq_pipeline.inference.client.served_model import served_name
from faq_pipeline.inference.client.server_address import ServerAddress
from faq_pipeline.inference.engine import Completion, Request

Result = TypeVar("Result")

AHEAD = 4
"""Results that may wait for the consumer, in bounds of concurrency."""

ECHO_SEED = 1234
"""As lm-eval sends it; the one token that is sampled is not used."""

OWN_DEFAULTS = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""What vLLM and SGLang would otherwise take from the model's generation config (Qwen3: top_k 20)."""


@dataclass(frozen=True)
class Chat:
    """One question to an assistant whose answer must fit a JSON schema."""

    id: str
    messages: list[dict[str, str]]
    schema: dict[str, Any]
    seed: int
    max_tokens: int


@dataclass(frozen=True)
class ChatReply:
    """The assistant's reply; None with an `error` if there is no usable reply."""

    id: str
    content: str | None
    error: str = ""


@dataclass
class Client:
    """Client of one or several OpenAI-compatible servers that serve the same model.

    Transient failures (lost connections, 429, 5xx, unusable answers) are retried, on another server if
    there is one. A server that keeps failing is left alone for increasing times. A request that a server
    refuses permanently becomes a result with an error. Each call has its own thread and connections,
    which end with its iterator.

    Attributes:
        model: the name it is served under; if None, the only model that the servers list.
        most: requests in flight at one time, over all servers.
        timeout: seconds for one answer, from the request to its last byte.
        alive: called after a failure, in a thread: blocks until the (one, managed) server is up
            again, or raises what then ends the iterator.
    """

    targets: Sequence[ServerAddress]
    model: str | None = None
    most: int = 1024
    timeout: float = 1800.0
    alive: Callable[[], None] | None = None
    patience: RetryPolicy = field(default_factory=RetryPolicy)
    _figures: Figures = field(default_factory=Figures, init=False)
    _running: WeakSet[Generator[Any]] = field(default_factory=WeakSet, init=False, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for iterator in list(self._running):
            iterator.close()

    def figures(self) -> dict[str, int]:
        """Counters so far: `retries`, `rejected`, `errors`, `largest_concurrency`."""
        return asdict(self._figures)

    def check(self) -> str:
        """The name under which the servers serve the model.

        Raises:
            FaqError: none of them answers, one denies access, or one does not serve it.
        """
        self.model = served_name(self.targets, self.model)
        return self.model

    def complete(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        """One completion for each request, in the order in which they finish.

        Args:
            requests: iterated in another thread, not much faster than results are taken.

        Raises:
            FaqError: no server is left, or one denies access or knows no such model. What was
                finished before has been yielded.
        """
        return self._run(self._completion_job(request, sampling) for request in requests)

    def prompt_logprobs(
        self, items: Sequence[tuple[list[int], list[int]]]
    ) -> Iterator[tuple[int, float | None]]:
        """The mean log-probability of each reply's tokens after its prompt's, with the item's index.

        By vLLM's `prompt_logprobs`. One token is sampled too, so prompt and reply must be shorter
        than the context by one. None where the server refuses the item.

        Args:
            items: token ids of prompts and replies.
        """
        return self._run(self._scoring_job(index, *item) for index, item in enumerate(items))

    def echoes(self, prompts: Sequence[list[int]], most: int) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Prompts echoed with the log-probabilities of their tokens, as lm-eval asks for them.

        Yields:
            The prompt's index and the answer in the protocol's form, or why there is none.

        Args:
            prompts: token ids; one token is sampled after each.
            most: requests in flight: the answers are large.
        """
        return self._run((self._echo_job(index, prompt) for index, prompt in enumerate(prompts)), most)

    def chat(self, chats: Iterable[Chat]) -> Iterator[ChatReply]:
        """One reply for each question, in the order in which they come; greedy."""
        return self._run(map(self._chat_job, chats))

    def _run(self, jobs: Iterable[Job[Result]], most: int | None = None) -> Iterator[Result]:
        self.model = self.model or self.check()
        most = sockets_for(min(self.most, most or self.most))

        async def work(outlet: Outlet[Result]) -> None:
            async with AsyncExitStack() as stack:
                peers = []
                for target in self.targets:
                    api = await stack.enter_async_context(target.open(most, self.timeout))
                    peers.append(Peer(target, api, ConcurrencyControl(most)))
                balance = LoadBalancer(peers, most, self.patience)
                await Dispatcher(balance, self._figures, self.alive, self.timeout).run(
                    iter(jobs), outlet, most
                )

        results = iterate(work, ahead=AHEAD * most)
        self._running.add(results)
        yield from results

    def _completion_job(self, request: Request, sampling: Sampling) -> Job[Completion]:
        body = {
            "model": self.model,
            "prompt": request.prompt,
            "seed": request.seed,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            "logprobs": 0,
            # The prompt holds its special tokens already, and thinking marks must stay in the reply.
            "add_special_tokens": False,
            "skip_special_tokens": False,
            **OWN_DEFAULTS,
        }

        def read(content: bytes) -> tuple[Completion, int]:
            most = sampling.max_new_tokens
            completion = read_completion(request.id, content, model=self.model, most=most)
            return completion, completion.tokens

        def refused(problem: str) -> Completion:
            return Completion(request.id, "", 0, None, "error", problem)

        return Job(request.id, "/completions", body, read, refused, sampling.max_new_tokens)

    def _scoring_job(self, index: int, prompt: list[int], reply: list[int]) -> Job[tuple[int, float | None]]:
        body = {"model": self.model, "prompt": prompt + reply, "max_tokens": 1, "prompt_logprobs": 0}
        length = len(prompt) + len(reply)

        def read(content: bytes) -> tuple[tuple[int, float | None], int]:
            return (index, read_prompt_logprob(reply, content, model=self.model, length=length)), length

        return Job(str(index), "/completions", body, read, lambda problem: (index, None), length + 1)

    def _echo_job(self, index: int, prompt: list[int]) -> Job[tuple[int, dict[str, Any] | str]]:
        body = {
            "model": self.model,
            "prompt": [prompt],
            "temperature": 0,
            "max_tokens": 1,
            "logprobs": 1,
            "seed": ECHO_SEED,
            "echo": True,
        }

        def read(content: bytes) -> tuple[tuple[int, dict[str, Any] | str], int]:
            return (index, read_echo(len(prompt), content, model=self.model)), len(prompt)

        return Job(str(index), "/completions", body, read, lambda problem: (index, problem), len(prompt) + 1)

    def _chat_job(self, chat: Chat) -> Job[ChatReply]:
        body = {
            "model": self.model,
            "messages": chat.messages,
            "seed": chat.seed,
            "temperature": 0.0,
            "max_tokens": chat.max_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": chat.schema},
            },
        }

        def read(content: bytes) -> tuple[ChatReply, int]:
            said, tokens = read_chat(content, model=self.model)
            return ChatReply(chat.id, said, "" if said else "nothing said, or cut"), tokens

        return Job(
            chat.id, "/chat/completions", body, read, partial(ChatReply, chat.id, None), chat.max_tokens
        )
