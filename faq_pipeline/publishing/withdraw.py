"""Withdraw a checkpoint: block it from publication first, then remove it from every place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from faq_pipeline.errors import FaqError
from faq_pipeline.publishing.card import write_notice
from faq_pipeline.publishing.directory import PublishDirectory
from faq_pipeline.publishing.hub import TOKEN, HubRepository, place_of, write_token
from faq_pipeline.publishing.record import Event, Place, Record, Records, now, somebody


@dataclass(frozen=True)
class Withdrawal:
    """The outcome of `withdraw`.

    Attributes:
        record: the updated record.
        removed: the places from which this call removed the checkpoint.
        notes: messages for the user, one line each.
    """

    record: Record
    removed: tuple[Place, ...]
    notes: tuple[str, ...]


def withdraw(records: Records, prefix: str, reason: str) -> Withdrawal:
    """Block a checkpoint from publication, and remove it from every place where it is published.

    If a withdrawal was interrupted or could not reach a repository, call it again to complete it.

    Args:
        prefix: first digits of the checkpoint's fingerprint or digest.
        reason: what is wrong with the checkpoint; one line.

    Raises:
        FaqError: no checkpoint or several match the prefix, the reason is empty, or a place cannot be
            written to. In the last case the checkpoint is blocked, and the removals so far are recorded.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise FaqError("a withdrawal needs a reason", hint='--reason "what is wrong with it"')
    digest = records.find(prefix).digest
    with records.locked(digest):
        record = records.find(digest)
        if record.withdrawal is None:
            record = records.add(record, _event(record, "withdrawn", reason=reason))
        removed, notes, failures = [], [], []
        for place in record.standing():
            try:
                commit, note = _remove(records, record, place)
            except FaqError as error:
                failures.append(error)
                continue
            record = records.add(record, _event(record, "removed", place=place, commit=commit))
            removed.append(place)
            notes += [note] if note else []
        if failures:
            raise failures[0]
        return Withdrawal(record, tuple(removed), tuple(notes))


def _remove(records: Records, record: Record, place: Place) -> tuple[str | None, str]:
    """Remove the checkpoint from one place; return the commit, if any, and a note, if any."""
    if place.kind == "directory":
        folder = PublishDirectory(Path(place.name))
        folder.withdraw(_successor(records, folder))
        return None, ""
    name = place.name.partition("/")[2]
    token = write_token()
    if token is None or place_of(name) != place:
        what = f"set {TOKEN}" if token is None else "set HF_ENDPOINT to that hub"
        raise FaqError(
            f"checkpoint {record.digest} is withdrawn but still at {place}",
            hint=f"{what} and withdraw again",
        )
    assert record.withdrawal is not None
    notice = write_notice(record.digest, record.withdrawal.cell, record.withdrawal.reason or "")
    commit = HubRepository(name, token).withdraw(record.digest, record.withdrawal.cell, notice)
    moved_on = f"{place} now holds another checkpoint; this one is only in its history"
    return commit, "" if commit else moved_on


def _successor(records: Records, folder: PublishDirectory) -> str | None:
    """The digest of the latest other checkpoint of the same cell that is still published."""
    newest: tuple[str, str] | None = None
    for other in records.all():
        if other.withdrawal is not None:
            continue
        for place in other.standing():
            path, event = Path(place.name), other.at(place)
            beside = place.kind == "directory" and path.parent == folder.path.parent and path != folder.path
            if beside and path.is_dir() and event is not None:
                newest = max(newest or ("", ""), (event.when, path.name))
    return newest and newest[1]


def _event(
    record: Record,
    what: str,
    *,
    place: Place | None = None,
    commit: str | None = None,
    reason: str | None = None,
) -> Event:
    """A new event, for the cell that the checkpoint was last published for."""
    return Event.model_validate(
        {
            "what": what,
            "when": now(),
            "by": somebody(),
            "cell": record.events[-1].cell,
            "place": place,
            "commit": commit,
            "reason": reason,
        }
    )
