"""Published checkpoints in a hub repository, one commit each; only with a write token of its own.

The titles of our commits name the checkpoint's digest. So the repository itself tells what was
published there, also where the process that did it was killed before it could record it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from faq_pipeline.errors import FaqError
from faq_pipeline.publishing.content import CARD
from faq_pipeline.publishing.record import Place

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN = "FAQ_HUB_WRITE_TOKEN"
"""Environment variable with the token that may write. HF_TOKEN, which reads, is never used for it."""
ATTRIBUTES = ".gitattributes"
"""The hub's own file in a repository: it says which files are large."""
_TITLE = re.compile(r"(Publish|Withdraw) checkpoint ([0-9a-f]{20}): ")


@dataclass(frozen=True)
class HubRepository:
    """A repository and what opens it.

    Attributes:
        name: `owner/name`.
        token: the secret itself; it appears in no message.
    """

    name: str
    token: str = field(repr=False)

    @property
    def place(self) -> Place:
        return place_of(self.name)

    def publish(self, folder: Path, digest: str, cell: str, *, again: bool) -> tuple[str, bool]:
        """Make the folder's files the repository's, in one commit, unless one of its commits did so.

        Args:
            again: unless its newest commit of ours did so; also after a withdrawal.

        Returns:
            The commit, and whether it was made now.

        Raises:
            FaqError: the hub refuses, does not answer, the repository changed meanwhile, or the
                checkpoint was withdrawn from it.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._speaking() as api:
            api.create_repo(self.name, exist_ok=True)
            head, ours = _history(api, self.name)
            known = [(commit, what) for commit, what, its in ours[: 1 if again else None] if its == digest]
            if known and known[0][1] == "Publish":
                return known[0][0], False
            if known and not again:
                raise FaqError(
                    f"checkpoint {digest} was withdrawn from {self.place} by commit {known[0][0]}",
                    hint="faq publish --again if it is to be there after all",
                )
            added = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
            gone = set(api.list_repo_files(self.name, revision=head)) - set(added) - {ATTRIBUTES}
            # Not `upload_folder`, which parts a large folder into several commits.
            commit = api.create_commit(
                self.name,
                [
                    *(CommitOperationDelete(path) for path in sorted(gone)),
                    *(CommitOperationAdd(name, path) for name, path in added.items()),
                ],
                commit_message=f"Publish checkpoint {digest}: {_words(cell)}",
                parent_commit=head,
            )
            return str(commit.oid), True

    def withdraw(self, digest: str, cell: str, notice: str) -> str | None:
        """Take the checkpoint's files out of the repository in a commit that says why.

        The repository and its history stay: who pinned a commit can still load it.

        Args:
            notice: what stands there as README.md instead.

        Returns:
            The commit; None if the repository has moved on to another checkpoint.

        Raises:
            FaqError: as `publish`.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._speaking() as api:
            head, ours = _history(api, self.name)
            if not ours or ours[0][2] != digest:
                return None
            if ours[0][1] == "Withdraw":
                return ours[0][0]
            gone = set(api.list_repo_files(self.name, revision=head)) - {ATTRIBUTES, CARD}
            commit = api.create_commit(
                self.name,
                [
                    *(CommitOperationDelete(path) for path in sorted(gone)),
                    CommitOperationAdd(CARD, notice.encode()),
                ],
                commit_message=f"Withdraw checkpoint {digest}: {_words(cell)}",
                commit_description=notice,
                parent_commit=head,
            )
            return str(commit.oid)

    @contextmanager
    def _speaking(self) -> Iterator[HfApi]:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        try:
            yield HfApi(token=self.token, library_name="faq_pipeline")
        except FaqError:
            raise
        # What a hub client raises is no stable set: OSError, ValueError, its own and HTTP errors.
        except Exception as error:
            raise FaqError(
                f"{self.place} cannot be written to: {self._reason(error)}",
                hint=f"check the network, the repository's name and {TOKEN}, and run again",
            ) from None  # a careless server repeats the token that it refuses, and causes are logged

    def _reason(self, error: Exception) -> str:
        """The error's first line, without the token and without signatures in addresses."""
        line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        return re.sub(r"\?\S+", "", line.replace(self.token, "***")).rstrip(". ")


def write_token() -> str | None:
    """The token of the environment, or None."""
    return os.environ.get(TOKEN) or None


def place_of(repository: str) -> Place:
    """A repository of the hub that this environment speaks to."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    return Place(kind="hub", name=f"{parts.netloc.rpartition('@')[2]}/{repository}")


def _history(api: HfApi, name: str) -> tuple[str | None, list[tuple[str, str, str]]]:
    """The newest commit, and those of ours, newest first: (commit, `Publish` or `Withdraw`, digest)."""
    commits = api.list_repo_commits(name)
    ours = [(c.commit_id, found[1], found[2]) for c in commits if (found := _TITLE.match(c.title))]
    return (commits[0].commit_id if commits else None), ours


def _words(cell: str) -> str:
    member, _, recipe = cell.partition("|")
    return f"{member}, {recipe}"
