"""The requests that discovery makes to a hub, through `huggingface_hub`, with validated answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from faq_pipeline.config.family import COMMIT
from faq_pipeline.errors import FaqError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
DATASET: list[Any] = ["sha", "tags", "gated", "disabled"]
LIST: list[Any] = [*DATASET, "safetensors"]
INFO: list[Any] = [*LIST, "siblings"]


class HubRefusedError(FaqError):
    """The hub is down, busy or unreachable: further requests are pointless now."""


class Gone:
    """The hub's answer that it has no such repository, or none for us."""


class RepositoryInfo(BaseModel):
    """What the hub tells of a repository."""

    model_config = ConfigDict(strict=True, frozen=True)

    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    sha: str = Field(pattern=f"^{COMMIT.pattern}$")
    tags: list[str] | None = None
    gated: bool | str | None = None
    disabled: bool | None = None
    parameters: PositiveInt | None = None
    """Number of weights in safetensors; None where it does not tell, or there are none."""
    files: list[str] | None = None

    @property
    def licences(self) -> list[str]:
        """As its tags `license:...` have them."""
        return [tag.partition(":")[2] for tag in self.tags or [] if tag.startswith("license:")]

    @property
    def licence(self) -> str | None:
        """The first of them."""
        return next(iter(self.licences), None)


class HubClient:
    """One look's questions to the hub."""

    def __init__(self, api: HfApi) -> None:
        self._api = api
        self._name = urlsplit(api.endpoint).hostname or "the hub"  # the URL may hold a password

    @classmethod
    @contextmanager
    def connected(cls) -> Iterator[Self]:
        """A client for the time of one look, within the look's bounds.

        Raises:
            FaqError: HF_HUB_OFFLINE is set.
        """
        from huggingface_hub import HfApi, constants

        from faq_pipeline.discovery.request_budget import bounded

        if constants.is_offline_mode():
            raise FaqError(
                "cannot ask the hub: HF_HUB_OFFLINE is set",
                hint="unset it, or give the family's discovery a directory",
            )
        with bounded():
            yield cls(HfApi())

    @property
    def requests_left(self) -> int:
        """How many more may be made."""
        from faq_pipeline.discovery.request_budget import requests_left

        return requests_left()

    def list(self, owner: str, wanted: Callable[[str], bool]) -> list[RepositoryInfo]:
        """The owner's repositories with a wanted `owner/name`.

        Raises:
            FaqError: the hub does not list them all, or its answer makes no sense.
        """
        infos = self._ask(lambda: [*self._api.list_models(author=owner, expand=LIST)])
        if not all(isinstance(info.id, str) for info in infos):
            raise self._senseless("a repository without a name")
        return [self._info(info) for info in infos if wanted(info.id)]

    def info(self, source: str) -> RepositoryInfo | Gone:
        """What it tells of one repository.

        Raises:
            FaqError: the hub does not answer, or its answer makes no sense.
        """
        return self._info_or_gone(lambda: self._api.model_info(source, expand=INFO))

    def dataset(self, source: str, revision: str | None = None) -> RepositoryInfo | Gone:
        """What it tells of one data set, at a commit, branch or tag; `main` where none is named.

        Raises:
            FaqError: it has no such revision, does not answer, or its answer makes no sense.
        """
        from huggingface_hub.errors import RevisionNotFoundError

        try:
            return self._info_or_gone(
                lambda: self._api.dataset_info(source, revision=revision, expand=DATASET)
            )
        except FaqError as error:
            if isinstance(error.__cause__, RevisionNotFoundError):
                raise FaqError(
                    f"data set {source} has no revision {revision!r}", hint="a commit, a branch or a tag"
                ) from None
            raise

    def _info_or_gone(self, call: Callable[[], Any]) -> RepositoryInfo | Gone:
        from huggingface_hub.errors import DisabledRepoError, GatedRepoError, RepositoryNotFoundError

        try:
            return self._info(self._ask(call))
        except FaqError as error:
            lost = isinstance(error.__cause__, (RepositoryNotFoundError, DisabledRepoError))
            if lost and not isinstance(error.__cause__, GatedRepoError):
                return Gone()
            raise

    def may_read(self, source: str, kind: str = "model") -> bool:
        """Whether our token opens a gated repository of that kind, `model` or `dataset`.

        Raises:
            FaqError: the hub does not answer.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            self._ask(lambda: self._api.auth_check(source, repo_type=kind))
        except FaqError as error:
            if isinstance(error.__cause__, RepositoryNotFoundError):  # gated ones are of this kind, too
                return False
            raise
        return True

    def _info(self, info: Any) -> RepositoryInfo:
        files = None if info.siblings is None else [one.rfilename for one in info.siblings]
        weights = getattr(info, "safetensors", None)  # a data set has none
        try:
            return RepositoryInfo(
                id=info.id,
                sha=info.sha,
                tags=info.tags,
                gated=info.gated,
                disabled=info.disabled,
                parameters=weights.total if weights else None,
                files=files,
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise self._senseless(f"{info.id!r}: {first['loc'][0]}: {first['msg']}") from error

    def _ask(self, call: Callable[[], T]) -> T:
        """The answer to a call, or a FaqError for whatever went wrong, with the library's error as cause."""
        import httpx
        from huggingface_hub.errors import HfHubHTTPError

        from faq_pipeline.discovery.request_budget import BudgetSpentError

        try:
            return call()
        except HfHubHTTPError as error:
            raise self._refused(error) from error
        except httpx.HTTPError as error:
            reason = " ".join(str(error).split())
            raise HubRefusedError(
                f"{self._name} does not answer: {type(error).__name__}: {reason}"
            ) from error
        except BudgetSpentError as error:
            raise HubRefusedError(
                f"{self._name} was given up: {error}", hint="the next look may get on"
            ) from error
        except json.JSONDecodeError as error:
            raise self._senseless("it is not JSON") from error
        except Exception as error:  # what the library makes of an answer of another form: any
            raise self._senseless(f"{type(error).__name__}: {error}") from error

    def _refused(self, error: Any) -> FaqError:
        status = error.response.status_code
        phrase = error.response.reason_phrase.lower()
        after = error.response.headers.get("Retry-After")
        wait = f", to be asked again after {after} s" if after else ""
        error_type = HubRefusedError if status in (401, 429) else FaqError
        return error_type(
            f"{self._name} answers {status} {phrase}{wait}", hint="check HF_ENDPOINT and HF_TOKEN"
        )

    def _senseless(self, what: str) -> FaqError:
        return FaqError(f"the answer of {self._name} makes no sense: {' '.join(what.split())[:200]}")
