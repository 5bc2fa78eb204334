"""Review the artifacts of a cell against the gate, and publish them if they pass.

The verdict is not stored as an artifact. It takes seconds to compute and must follow the current rules:
the licences that a family allows are not an input of the checkpoint. Each publication keeps the verdict
of its day in `publication.json`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from faq_pipeline.config.recipe import ORIGINAL
from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.execution.cell_resolver import CellResolver
from faq_pipeline.execution.recipe_comparison import compare_member, read_comparison
from faq_pipeline.publishing.card import Reduction, write_card
from faq_pipeline.publishing.content import PublishedContent
from faq_pipeline.publishing.gate import GateVerdict, judge_publication
from faq_pipeline.publishing.hub import write_token
from faq_pipeline.publishing.publish import Destinations, Publication, publish
from faq_pipeline.publishing.record import Records
from faq_pipeline.reporting.finished import FinishedCell, finished_cell
from faq_pipeline.reporting.page import summary
from faq_pipeline.settings import Settings
from faq_pipeline.store.fingerprint import short_hash, tool_version


@dataclass(frozen=True)
class Review:
    """A finished cell and the gate's verdict on it."""

    finished: FinishedCell
    verdict: GateVerdict

    @property
    def version(self) -> str:
        """A hash of the verdict, the checkpoint and the report."""
        judged = [self.finished.checkpoint.digest, self.finished.report.digest, self.verdict.as_dict()]
        return short_hash(json.dumps(judged, sort_keys=True).encode())


def records_of(settings: Settings) -> Records:
    """The publication records of this installation."""
    return Records(settings.home / "publications")


def review_cell(settings: Settings, cell: Cell) -> Review:
    """Judge a finished cell by the gate. No model is loaded.

    Raises:
        MissingUpstreamError: the cell is not finished.
    """
    finished = finished_cell(settings, cell)
    return Review(finished, judge_publication(finished))


def content_of(settings: Settings, review: Review) -> PublishedContent:
    """The content to publish for a reviewed cell, whether or not it passed."""
    finished = review.finished
    sentences = summary(CellResolver(settings), finished)
    card = write_card(finished, review.verdict, _reduction(settings, finished.cell), sentences)
    statement = {
        "cell": finished.cell.partition,
        "checkpoint": {"fingerprint": finished.checkpoint.fingerprint, "digest": finished.checkpoint.digest},
        "stages": {
            name: {"fingerprint": artifact.fingerprint, "digest": artifact.digest}
            for name, artifact in finished.artifacts.items()
        },
        "verdict": review.verdict.as_dict(),
        "faq_pipeline": tool_version("faq-pipeline"),
    }
    return PublishedContent(finished.cell.partition, finished.checkpoint, card, statement)


def publish_review(
    settings: Settings,
    review: Review,
    content: PublishedContent,
    *,
    again: bool = False,
    run: str | None = None,
) -> Publication:
    """Publish a reviewed cell; see `publishing.publish`.

    Raises:
        FaqError: the cell did not pass the gate, or a destination cannot be written to.
    """
    if not review.verdict.passed:
        raise FaqError(f"{content.cell} cannot be published: {review.verdict.reason}")
    destinations = destinations_of(settings, review.finished.cell)
    return publish(content, destinations, records_of(settings), again=again, run=run)


def destinations_of(settings: Settings, cell: Cell) -> Destinations:
    """The destinations that the cell's family names."""
    assert cell.family.publish is not None  # the gate requires it
    spec = cell.family.publish
    directory = spec.directory or settings.home / "published"
    hub = cell.target.member.hub
    fields = {
        "owner": hub.partition("/")[0] if hub else cell.family.name,
        "member": cell.target.name,
        "recipe": cell.recipe.name,
        "revision": cell.target.digest[:8],
    }
    return Destinations(
        directory / cell.target.name / cell.recipe.name,
        spec.repository and re.sub(r"\{(\w+)\}", lambda found: fields[found[1]], spec.repository),
        write_token(),
    )


def _reduction(settings: Settings, cell: Cell) -> Reduction | None:
    """The loss reduction from the member's comparison; None without baselines or without a figure."""
    if not cell.recipe.baselines:
        return None
    compared = compare_member(settings, cell.target.partition).artifact
    rows = read_comparison(settings.store, compared.fingerprint)["recipes"]
    row = next(row for row in rows if row["recipe"] == cell.recipe.name)
    if row["loss_reduction"] is None:
        return None
    against = tuple(one["baseline"] for one in row["against"])
    originals = all(settings.catalog.recipe(name).regeneration.source == ORIGINAL for name in against)
    return Reduction(row["loss_reduction"], against, originals, row["verdict"], row["remark"])
