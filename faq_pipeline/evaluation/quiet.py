"""Silence lm-eval's log lines and progress bars, which would disturb the progress display of the run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from faq_pipeline.util.attributes import replaced_attribute


@contextmanager
def quiet_lm_eval() -> Iterator[None]:
    """Run lm-eval and datasets without log lines and progress bars."""
    import datasets
    from lm_eval import evaluator
    from lm_eval.api import task

    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "transformers")]
    levels = [logger.level for logger in loggers]
    bars = datasets.are_progress_bars_disabled()
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        with (
            replaced_attribute(task, "tqdm", lambda rows, **_: rows),
            # These start subprocesses that take a second and print warnings.
            replaced_attribute(evaluator, "add_env_info", lambda results: None),
            replaced_attribute(evaluator, "get_git_commit_hash", lambda: None),
        ):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
