"""Checks that the servers answer, and finds the name under which they serve the model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from faq_pipeline.errors import FaqError
from faq_pipeline.inference.client.async_bridge import Outlet, iterate
from faq_pipeline.inference.client.failures import DeniedError, LostError, UnknownError, failure_of
from faq_pipeline.inference.client.responses import read_models
from faq_pipeline.inference.client.server_address import ServerAddress

WAIT = 30.0
"""Seconds for a list of models."""

Answer = tuple[ServerAddress, list[str] | Exception]


def served_name(targets: Sequence[ServerAddress], model: str | None) -> str:
    """`model`, which every server that answers must serve; where None, the only one they list.

    Raises:
        FaqError: no server answers, one denies access, does not serve the model, or does not speak
            the protocol; or no model is named and there is not just one.
    """

    async def work(outlet: Outlet[Answer]) -> None:
        for answer in await asyncio.gather(*map(_ask, targets)):
            outlet.put(answer)

    answers = list(iterate(work, ahead=len(targets) + 1))
    _check_failures(answers)
    listed = {target: names for target, names in answers if isinstance(names, list)}
    if model is None:
        return _only(listed)
    for target, names in listed.items():
        if model not in names:
            raise FaqError(f"{target.name} does not serve {model!r}", hint=f"it serves {_named(names)}")
    return model


async def _ask(target: ServerAddress) -> Answer:
    from faq_pipeline.inference.client.exchange import exchange

    async with target.open(1, WAIT) as api:
        try:
            return target, read_models(await exchange(api, "/models", seconds=WAIT))
        except Exception as error:
            failure = failure_of(error, target.key)
            if failure is None:
                raise
            return target, failure


def _check_failures(answers: Sequence[Answer]) -> None:
    """Raise for permanent failures; note servers that do not answer while others do."""
    for target, failure in answers:
        if isinstance(failure, DeniedError):
            raise target.denied(str(failure))
        if isinstance(failure, UnknownError):
            raise FaqError(
                f"{target.name} has no list of models: {failure}",
                hint="base_urls name the part of the URL before /completions, mostly ending in /v1",
            )
    away = [(target, failure) for target, failure in answers if isinstance(failure, LostError)]
    if len(away) == len(answers):
        target, failure = away[0]
        raise FaqError(f"{target.name} does not answer: {failure}", hint="start it, or correct base_urls")
    for target, failure in away:
        logging.getLogger(__name__).warning("%s does not answer: %s", target.name, failure)


def _only(listed: dict[ServerAddress, list[str]]) -> str:
    names = {name for these in listed.values() for name in these}
    if len(names) != 1:
        found = f"they serve {_named(names)}" if names else "their lists could not be read"
        raise FaqError("the endpoint does not say which model is meant", hint=f"set 'model': {found}")
    return names.pop()


def _named(names: Sequence[str] | set[str]) -> str:
    return ", ".join(map(repr, sorted(names)[:8])) or "nothing"
