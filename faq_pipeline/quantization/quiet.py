"""The quantizer's own logs and bars, kept from standard output and the terminal."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faq_pipeline.util.attributes import replaced_attribute

LIBRARIES = ("llmcompressor", "compressed_tensors")

# Importing llmcompressor starts a log on standard output, where `faq run --json` prints its object.
# (Its own switch, LLM_COMPRESSOR_LOG_DISABLED, also leaves out a log level that GPTQ then misses.)
os.environ.setdefault("LLM_COMPRESSOR_LOG_LEVEL", "CRITICAL")


@contextmanager
def quiet_llmcompressor() -> Iterator[None]:
    """No log lines, progress bars or warnings of llmcompressor and what it calls."""
    from loguru import logger
    from tqdm.std import tqdm

    original = tqdm.__init__

    def silent(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "disable": True})

    # The second warns of each layer that is named in a scheme and is not in the block at hand.
    loggers = [logging.getLogger(name) for name in ("torch.fx._symbolic_trace", "compressed_tensors")]
    levels = [one.level for one in loggers]
    # Importing auto-round sets the level of its log.
    autoround = logging.getLogger("autoround")
    disabled, autoround.disabled = autoround.disabled, True
    for library in LIBRARIES:
        logger.disable(library)
    try:
        for one in loggers:
            one.setLevel(logging.ERROR)
        with warnings.catch_warnings(), replaced_attribute(tqdm, "__init__", silent):
            warnings.simplefilter("ignore")
            yield
    finally:
        autoround.disabled = disabled
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
