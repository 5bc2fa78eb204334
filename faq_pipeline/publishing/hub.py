"""Published checkpoints in a hub repository, one commit each. Needs a separate write token.

The title of each of our commits contains the checkpoint's digest. So the repository itself shows what
was published, even if the publishing process was killed before it recorded the publication.
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
"""Environment variable with the write token. HF_TOKEN is for reading and is never used to write."""
ATTRIBUTES = ".gitattributes"
"""A file that the hub itself keeps in each repository; it lists the large files."""
_TITLE = re.compile(r"(Publish|Withdraw) checkpoint ([0-9a-f]{20}): ")


@dataclass(frozen=True)
class HubRepository:
    """A repository and its write token.

    Attributes:
        name: `owner/name`.
        token: the secret itself; it never appears in a message.
    """

    name: str
    token: str = field(repr=False)

    @property
    def place(self) -> Place:
        return place_of(self.name)

    def publish(self, folder: Path, digest: str, cell: str, *, again: bool) -> tuple[str, bool]:
        """Replace the repository's files with those of the folder, in one commit.

        Does nothing if an earlier commit published this checkpoint.

        Args:
            again: publish even if the checkpoint was withdrawn, or another one was published after it.
                Only if our newest commit published it, nothing is done.

        Returns:
            The commit, and whether this call made it.

        Raises:
            FaqError: the hub refuses or does not answer, the repository changed meanwhile, or the
                checkpoint was withdrawn from it.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._client() as api:
            api.create_repo(self.name, exist_ok=True)
            head, ours = _history(api, self.name)
            known = [(commit, what) for commit, what, its in ours[: 1 if again else None] if its == digest]
            if known and known[0][1] == "Publish":
                return known[0][0], False
            if known and not again:
                raise FaqError(
                    f"checkpoint {digest} was withdrawn from {self.place} by commit {known[0][0]}",
                    hint="to publish it anyway: faq publish --again",
                )
            added = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
            gone = set(api.list_repo_files(self.name, revision=head)) - set(added) - {ATTRIBUTES}
            # `upload_folder` would split a large folder into several commits.
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
        """Delete the checkpoint's files from the repository in a commit that gives the reason.

        The history of the repository stays, so that users who pinned a commit can still load it.

        Args:
            notice: the new README.md.

        Returns:
            The commit; None if the repository now holds another checkpoint.

        Raises:
            FaqError: see `publish`.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._client() as api:
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
    def _client(self) -> Iterator[HfApi]:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
        try:
            yield HfApi(token=self.token, library_name="faq_pipeline")
        except FaqError:
            raise
        # The hub client raises many kinds of errors: OSError, ValueError, its own and HTTP errors.
        except Exception as error:
            raise FaqError(
                f"{self.place} cannot be written to: {self._reason(error)}",
                hint=f"check the network, the repository's name and {TOKEN}, and run again",
            ) from None  # causes are logged, and a server may echo the token that it refuses

    def _reason(self, error: Exception) -> str:
        """The first line of the error, without the token and without URL queries (they may be signed)."""
        line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        return re.sub(r"\?\S+", "", line.replace(self.token, "***")).rstrip(". ")


def write_token() -> str | None:
    """The write token from the environment, or None."""
    return os.environ.get(TOKEN) or None


def place_of(repository: str) -> Place:
    """The place of a repository on the configured hub (HF_ENDPOINT)."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    return Place(kind="hub", name=f"{parts.netloc.rpartition('@')[2]}/{repository}")


def _history(api: HfApi, name: str) -> tuple[str | None, list[tuple[str, str, str]]]:
    """The newest commit, and our commits, newest first, as (commit, `Publish` or `Withdraw`, digest)."""
    commits = api.list_repo_commits(name)
    ours = [(c.commit_id, found[1], found[2]) for c in commits if (found := _TITLE.match(c.title))]
    return (commits[0].commit_id if commits else None), ours


def _words(cell: str) -> str:
    member, _, recipe = cell.partition("|")
    return f"{member}, {recipe}"
