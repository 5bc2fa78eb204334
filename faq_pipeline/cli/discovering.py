"""`faq members --discover`: look for new members once, without the Dagster daemon."""

from __future__ import annotations

from typing import Any

from faq_pipeline.cli.display import print_json, say
from faq_pipeline.discovery.discover import DiscoveryResult, discover
from faq_pipeline.errors import FaqError
from faq_pipeline.settings import Settings


def discover_members(settings: Settings, family: str | None, *, json: bool) -> None:
    """Discover one family, or all that have a discovery rule; register and print what changed.

    Raises:
        FaqError: the source of a family does not answer. The results of the others are printed first.
    """
    families = settings.catalog.families
    names = [name for name, known in families.items() if known.discovery] if family is None else [family]
    seen: list[DiscoveryResult] = []
    failed: list[FaqError] = []
    for name in names:
        try:
            seen.append(discover(settings, name))
            settings = seen[-1].settings
        except FaqError as error:
            failed.append(error if family is not None else _with_family(name, error))
    if json and seen:
        print_json({"families": [_row(result) for result in seen]})
    elif seen:
        for result in seen:
            _show(result)
    if failed:
        raise failed[0] if len(failed) == 1 else FaqError("; ".join(map(str, failed)))


def _with_family(family: str, error: FaqError) -> FaqError:
    return FaqError(f"family {family!r}: {error.where}{error.problem}", hint=error.hint)


def _row(seen: DiscoveryResult) -> dict[str, Any]:
    return {
        "family": seen.family,
        "changes": [
            {"kind": c.kind, "member": c.member, "source": c.source, "commit": c.commit} for c in seen.changes
        ],
        "stale": [
            {"members": r.members, "teacher": r.now, "before": r.before, "recipes": r.recipes}
            for r in seen.teacher_changes
        ],
        "ignored": [{"source": i.source, "reason": i.reason} for i in seen.ignored],
    }


def _show(seen: DiscoveryResult) -> None:
    lines = [str(item) for item in (*seen.changes, *seen.teacher_changes, *seen.ignored)]
    if not seen.changes:
        lines.insert(0, "nothing new")
    for line in lines:
        say(f"{seen.family}: {line}")
