"""Members in a directory, for sites without a hub: each subfolder that is a complete, safe checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.config.family import Family, Member
from faq_pipeline.discovery.listing import Listed, Listing
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import count_parameters, find_weights
from faq_pipeline.registry.naming import member_name
from faq_pipeline.registry.registry import Registered


@dataclass(frozen=True)
class DirectorySource:
    """The subfolders of a directory.

    Attributes:
        directory: holds a folder for each member.
        digests: as the cache of `find_weights`.
    """

    directory: Path
    digests: Path

    def look(self, family: Family, known: Mapping[str, Registered]) -> Listing:
        """The subfolders of the family's name. One that is incomplete is listed with its problem.

        Raises:
            FaqError: the directory cannot be read, or is empty although members in it are known, as
                where a disk is not mounted.
        """
        rule = family.discovery
        assert rule is not None
        try:
            folders = {str(path): path for path in sorted(self.directory.iterdir()) if path.is_dir()}
        except OSError as error:
            raise FaqError(f"cannot be read: {error.strerror}", file=self.directory) from None
        here = {source for source, record in known.items() if record.withdrawn is None}
        ours = {source for source in here if Path(source).parent == self.directory}
        if ours and not folders:
            raise FaqError(
                "empty, although members in it are known", hint="is it mounted?", file=self.directory
            )
        matching = [path for path in folders.values() if rule.matches(path.name)]
        return Listing(
            tuple(self._listed(path, family) for path in matching), frozenset(ours - folders.keys())
        )

    def _listed(self, folder: Path, family: Family) -> Listed:
        source = str(folder)
        assert family.discovery is not None
        if family.discovery.excludes(folder.name):
            return Listed(source, "")
        member = Member(name=member_name(source, ()), path=folder, parameters=1)
        try:
            weights = find_weights(member, self.digests)
            licence = _licence(folder) or family.licence
            return Listed(source, weights.digest, count_parameters(weights.folder), licence)
        except FaqError as error:
            return Listed(source, "", problem=str(error))
        except OSError as error:  # it is being written, or may not be read
            return Listed(source, "", problem=f"cannot be read: {error.strerror}")


def _licence(folder: Path) -> str | None:
    """As the front matter of the folder's model card has it."""
    from huggingface_hub.repocard import metadata_load

    try:
        licence = (metadata_load(folder / "README.md") or {}).get("license")
    except Exception:  # no card, or one that no YAML reader reads: what it raises is no stable set
        return None
    return licence if isinstance(licence, str) else None
