"""Adaptive limit on the requests in flight to one server, by its rejections and its latency."""

from __future__ import annotations

STEP = 1 / 16
"""Share of the bound that a whole round of successes adds (additive increase)."""
REJECTED = 0.5
"""What a rejection leaves of the limit (multiplicative decrease)."""
SLOWER = 0.75
"""What slowing down leaves of it: milder, since a slow server still answers."""
GROWTH = 2.0
"""Seconds a token, over the usual, that count as slowing down."""
KEPT = 0.9
"""Share of the tokens a second that a lower limit must keep, else the server was not crowded."""
WINDOW = 16
"""Fewest answers that latency is judged on."""


class ConcurrencyControl:
    """The limit on requests in flight to one server, from 1 to `most`. It starts at `most`.

    A rejection (429) halves the limit; rejections of requests that were sent before the limit last
    fell say nothing about the new one. Successes raise it again, a sixteenth of `most` a round.

    Latency is measured per token, since replies differ in length. If it doubles at full load, the limit
    falls by a quarter. The next window tests the decision: an overloaded server yields the same tokens
    per second with fewer requests. If the rate falls too, the requests themselves have become slower
    (longer prompts): the limit is restored and the new latency becomes the baseline.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.era = 0
        self._limit = float(most)
        self._usual: float | None = None
        self._trial: tuple[float, float] | None = None  # (tokens a second, limit) before a fall for latency
        self._start_window()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return max(1, int(self._limit))

    def succeeded(self, era: int, seconds: float, tokens: int, *, full: bool) -> None:
        """An answer came.

        Args:
            era: `self.era` when its request was sent.
            seconds: from sending to the answer.
            full: whether as many requests as allowed were in flight when it was sent; the latency
                of a server that has little to do is no measure.
        """
        self._limit = min(self.most, self._limit + self.most * STEP / self._limit)
        if full and era == self.era:
            self._seconds += seconds
            self._tokens += max(tokens, 1)
            self._answers += 1
            if self._answers >= max(WINDOW, self.limit):
                self._judge(max(self._seconds, 1e-9) / self._tokens)
                self._start_window()

    def rejected(self, era: int) -> None:
        """The server rejected a request because of load (429)."""
        if era == self.era:
            self._trial = None
            self._fall(REJECTED)

    def _judge(self, latency: float) -> None:
        rate = best = self._limit / latency
        if self._trial is not None:
            rate_before, limit_before = self._trial
            self._trial = None
            if rate < KEPT * rate_before:
                self._limit, self._usual = limit_before, latency
                return
            best = max(rate, rate_before)  # so that many small losses do not add up
        if self._usual is None or latency < self._usual:
            self._usual = latency
        elif latency > GROWTH * self._usual and self.limit > 1:
            self._trial = (best, self._limit)
            self._fall(SLOWER)

    def _fall(self, share: float) -> None:
        self.era += 1
        self._limit = max(1.0, self._limit * share)
        self._start_window()

    def _start_window(self) -> None:
        self._seconds, self._tokens, self._answers = 0.0, 0, 0
