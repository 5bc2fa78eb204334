"""Reads the counters of a vLLM server from its `/metrics`."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerMetrics:
    """Tokens that a server has read and written since it started.

    Attributes:
        prefix_cache_queries: prompt tokens looked up in the prefix cache.
        prefix_cache_hits: those of them that were found, and cost nothing.
    """

    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    preemptions: int = 0

    def __add__(self, other: ServerMetrics) -> ServerMetrics:
        return ServerMetrics(*(getattr(self, name) + getattr(other, name) for name in NAMES))

    @property
    def prefix_cache_hit_rate(self) -> float | None:
        """Share of the prompt tokens that the prefix cache spared."""
        return self.prefix_cache_hits / self.prefix_cache_queries if self.prefix_cache_queries else None


NAMES = {
    "prefix_cache_queries": "vllm:prefix_cache_queries_total",
    "prefix_cache_hits": "vllm:prefix_cache_hits_total",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "generation_tokens": "vllm:generation_tokens_total",
    "preemptions": "vllm:num_preemptions_total",
}


def parse_metrics(text: str) -> ServerMetrics:
    """The counters in Prometheus' text format, summed over a server's engines.

    Raises:
        ValueError: it is another format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    totals = dict.fromkeys(NAMES.values(), 0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in totals and 0 <= sample.value < math.inf:
                totals[sample.name] += int(sample.value)
    return ServerMetrics(*(totals[name] for name in NAMES.values()))
