"""Members on a hub: the repositories of a family's owners."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from faq_pipeline.config.family import Family
from faq_pipeline.discovery.hub_client import Gone, HubClient, HubRefusedError, RepositoryInfo
from faq_pipeline.discovery.listing import Listed, Listing
from faq_pipeline.errors import FaqError
from faq_pipeline.registry.registry import Registered

NEEDED = 2
"""Requests that it takes at most to look into one repository."""
LATER = "not looked into yet: there are many, and a later look has its turn"


class HubSource:
    """The hub that `HF_ENDPOINT` names, with the token of `HF_TOKEN`: both as `huggingface_hub` has it."""

    def look(self, family: Family, known: Mapping[str, Registered]) -> Listing:
        """The owners' repositories of the family's name, and those known members that are gone.

        A member that is missing from the list is asked for by name before it counts as gone. New
        repositories are looked into one by one where the list does not tell all, as far as the bounds
        of a look go.

        Raises:
            FaqError: the hub does not answer, or its answer makes no sense.
        """
        with HubClient.connected() as client:
            return _Look(client, family, known).listing()


class _Look:
    """One look under way."""

    def __init__(self, client: HubClient, family: Family, known: Mapping[str, Registered]) -> None:
        assert family.discovery is not None
        self._client, self._family, self._rule, self._known = client, family, family.discovery, known

    def listing(self) -> Listing:
        offered = {one.id: one for owner in self._family.owners for one in self._list(owner)}
        strangers = [Listed(one.id, one.sha) for one in offered.values() if not self._admits(one.id)]
        ours = {source: one for source, one in offered.items() if self._admits(source)}
        missing = [s for s, r in self._known.items() if r.withdrawn is None and s not in ours]
        gone = set()
        for source, answer in self._asked(source for source in missing if self._admits(source)):
            if isinstance(answer, RepositoryInfo) and answer.id == source:
                ours[source] = answer
            else:  # a renamed one is found under its new name, if that fits
                gone.add(source)
        gone |= {source for source, one in ours.items() if one.disabled and source in self._known}
        here = [one for source, one in ours.items() if source not in gone]
        # Not all may have their turn in one look, so it is drawn.
        return Listing((*strangers, *map(self._listed, random.sample(here, len(here)))), frozenset(gone))

    def _admits(self, source: str) -> bool:
        owner, _, name = source.partition("/")
        return owner in self._family.owners and self._rule.names(name)

    def _list(self, owner: str) -> list[RepositoryInfo]:
        return self._client.list(owner, lambda source: self._rule.matches(source.rpartition("/")[2]))

    def _asked(self, missing: Iterable[str]) -> Iterable[tuple[str, RepositoryInfo | Gone]]:
        """What the hub says of members that it did not list, one by one."""
        for source in missing:
            if self._client.requests_left < NEEDED:
                return
            try:
                yield source, self._client.info(source)
            except HubRefusedError:
                raise
            except FaqError:  # of this repository alone: what is known of it stays
                continue

    def _listed(self, one: RepositoryInfo) -> Listed:
        """A repository with all that is needed of it."""
        record = self._known.get(one.id)
        if record is not None and record.revision(one.sha) is not None:
            return Listed(one.id, one.sha)
        if one.disabled:
            return Listed(one.id, one.sha, problem="disabled by the hub")
        if one.parameters is not None and not one.gated:
            return Listed(one.id, one.sha, one.parameters, one.licence)
        if self._client.requests_left < NEEDED:
            return Listed(one.id, one.sha, problem=LATER)
        try:
            return self._inspected(one)
        except HubRefusedError:
            raise
        except FaqError as error:  # of this repository alone
            return Listed(one.id, one.sha, problem=error.problem)

    def _inspected(self, one: RepositoryInfo) -> Listed:
        if one.parameters is None:
            answer = self._client.info(one.id)
            if isinstance(answer, Gone) or answer.id != one.id:
                return Listed(one.id, one.sha, problem="it went while it was looked into")
            one = answer
        problem = ""
        if one.parameters is None:
            has_weights = any(name.endswith(".safetensors") for name in one.files or [])
            problem = "the hub does not tell its size yet" if has_weights else "it holds no safetensors"
        elif one.gated and not self._client.may_read(one.id):
            problem = "gated, and HF_TOKEN does not open it"
        return Listed(one.id, one.sha, one.parameters, one.licence, problem)
