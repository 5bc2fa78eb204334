"""In the place of vLLM's server: one that says what it is told to, and scores text by a real model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from tests.inference.fake_server import Asked, FakeServer

END = "<|im_end|>"


def question(prompt: str) -> int:
    """The number of the question `What is 3 + 3?`."""
    return int(re.findall(r"What is (\d+) \+", prompt)[-1])


class Speaking(FakeServer):
    """Says `says(prompt)`; a text that ends in the end mark has stopped, others are cut."""

    def __init__(self, says: Callable[[str], str], model: PreTrainedModel | None = None) -> None:
        super().__init__()
        self.says, self.model = says, model

    def _content(self, asked: Asked) -> dict[str, Any]:
        if asked.body.get("echo"):
            return self._scored(asked.prompt)
        text = self.says(asked.prompt)
        finish = "stop" if text.endswith(END) else "length"
        choice = {"index": 0, "text": text.removesuffix(END), "finish_reason": finish}
        return {"choices": [choice], "usage": {"completion_tokens": 9}}

    def _scored(self, prompts: list[list[int]]) -> dict[str, Any]:
        assert self.model is not None
        return {"choices": [self._choice(index, ids) for index, ids in enumerate(prompts)]}

    def _choice(self, index: int, ids: list[int]) -> dict[str, Any]:
        """As vLLM echoes a prompt with one more token."""
        assert self.model is not None
        with torch.inference_mode():
            logprobs = self.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
        wanted, best = [*ids[1:], int(logprobs[-1].argmax())], logprobs.max(-1)
        given = [None, *(logprobs[i, token].item() for i, token in enumerate(wanted))]
        top = [None, *({str(int(t)): v.item()} for v, t in zip(best.values, best.indices, strict=True))]
        return {"index": index, "logprobs": {"token_logprobs": given, "top_logprobs": top}}
