"""Seeds out of a data set on the hub: rows of one commit, kept here with the commit that was read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from faq_pipeline.config.yaml import Strict
from faq_pipeline.discovery.hub_client import Gone, HubClient, RepositoryInfo
from faq_pipeline.errors import FaqError, library_errors, reading_file
from faq_pipeline.quickstart.seed_conversion import Converted, Refused, convert
from faq_pipeline.quickstart.seed_forms import LOOKED_AT, Form, column_form, recognize
from faq_pipeline.regeneration.seeds import each_row
from faq_pipeline.store.fingerprint import short_hash
from faq_pipeline.store.records import Seed
from faq_pipeline.util.atomic_files import write_atomic

MOST_ROWS = 4096
"""Rows of a data set that are read, from its first on: the seeds are drawn among these."""
USUAL_SPLIT = "train"


class HubDataset(Strict):
    """A data set on the hub, and where its prompts are."""

    name: str
    """Its repository: `openai/gsm8k`."""
    config: str | None = None
    """Its configuration, where it has several."""
    split: str | None = None
    """The split that is read: `train`, or the only one, where none is named."""
    revision: str | None = None
    """Commit, branch or tag; what its `main` is at first use, where none is named."""
    text: str | None = None
    """Column of the prompts; where none is named, the form of the rows is recognized as a file's is."""
    answer: str | None = None
    """Column of the answers. Goes with `text`."""
    domain: str | None = None
    """Column by which the draw is balanced, in the place of what a row has as domain, category or topic."""


OPTIONS = tuple(name for name in HubDataset.model_fields if name != "name")
HOW = f"OWNER/NAME,KEY=VALUE,... with keys {', '.join(OPTIONS)}"


@dataclass(frozen=True)
class Fetched:
    """What was read of a data set.

    Attributes:
        split: the one that was read.
        revision: the commit.
        licence: as the hub tells it; `unknown` where it does not.
        found: seeds and refused rows; their lines are rows of the split, from 1 on.
    """

    split: str
    revision: str
    licence: str
    found: Converted


def parse_dataset(named: str) -> HubDataset:
    """The data set of `openai/gsm8k,config=main,text=question`.

    Raises:
        FaqError: an option is not of the form `key=value`, or its key is unknown.
    """
    name, *options = named.split(",")
    values = {}
    for option in options:
        key, _, value = (part.strip() for part in option.partition("="))
        if key not in OPTIONS or not value:
            raise FaqError(f"--seeds {named}: {option!r} is no option of a data set", hint=HOW)
        values[key] = value
    if "answer" in values and "text" not in values:
        raise FaqError(f"--seeds {named}: 'answer' goes with 'text'", hint="name the column of the prompts")
    return HubDataset(name=name, **values)


def fetch_dataset(dataset: HubDataset, home: Path) -> Fetched:
    """The first rows of a data set as seeds.

    What was read is kept in `home`, and asked of the hub no second time: so the commit that a name
    stood for at first use stays.

    Raises:
        FaqError: the hub has no such data set, revision, configuration, split or column, does not open
            it to us or does not answer; its files cannot be read; or no row is usable.
    """
    kept = kept_rows(dataset, home)
    try:
        with reading_file(kept):
            return _from_json(kept.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError):
        raise FaqError("is damaged", hint="remove it: it is fetched again", file=kept) from None
    info = _look_up(dataset)
    split, rows = _open(dataset, info.sha)
    each = enumerate(each_row(rows, _reading(dataset)), start=1)
    first = list(islice(each, LOOKED_AT))
    form = _form(dataset, [row for _, row in first])
    licence = " and ".join(info.licences) or "unknown"
    all_rows = islice(chain(first, each), MOST_ROWS)
    source = f"{dataset.name}@{info.sha}"
    labelled = ((line, _labelled(dataset, row, source, licence)) for line, row in all_rows)
    found = convert(form, labelled, dataset.name.partition("/")[2])
    if not found.seeds:
        why = found.refused[0].reason if found.refused else "it has no rows"
        raise FaqError(f"data set {dataset.name}, {split}: no usable row, the first: {why}", hint=HOW)
    fetched = Fetched(split, info.sha, licence, found)
    try:
        write_atomic(kept, json.dumps(asdict(fetched), ensure_ascii=False))
    except OSError as error:
        raise FaqError(f"cannot be written: {error.strerror}", file=kept) from None
    return fetched


def kept_rows(dataset: HubDataset, home: Path) -> Path:
    """The file that remembers what was read of a data set; without it the hub is asked again."""
    asked = short_hash(json.dumps(dataset.model_dump(), sort_keys=True).encode())[:8]
    return home / "hub/datasets" / f"{dataset.name.replace('/', '--')}-{asked}.json"


def _from_json(text: str) -> Fetched:
    content = json.loads(text)
    found = content.pop("found")
    seeds = [Seed(**seed) for seed in found.pop("seeds")]
    refused = [Refused(**row) for row in found.pop("refused")]
    return Fetched(**content, found=Converted(seeds=seeds, refused=refused, **found))


def _look_up(dataset: HubDataset) -> RepositoryInfo:
    with HubClient.connected() as client:
        info = client.dataset(dataset.name, dataset.revision)
        if isinstance(info, Gone):
            raise FaqError(
                f"no seed file {dataset.name!r} here, and the hub has no data set of that name",
                hint="check the name; a private one needs HF_TOKEN",
            )
        if info.gated and not client.may_read(dataset.name, "dataset"):
            raise FaqError(
                f"data set {dataset.name} is gated, and HF_TOKEN does not open it",
                hint="accept its terms on the hub, and set HF_TOKEN",
            )
    return info


def _open(dataset: HubDataset, commit: str) -> tuple[str, Any]:
    """The split to read, and its rows as they come over the network."""
    import datasets

    datasets.disable_progress_bars()
    config = dataset.config
    if config is None:
        with _reading(dataset):
            names = datasets.get_dataset_config_names(dataset.name, revision=commit)
            usual = datasets.get_dataset_default_config_name(dataset.name, revision=commit)
        if usual is None and len(names) > 1:
            raise FaqError(
                f"data set {dataset.name} has several configurations",
                hint=f"--seeds {dataset.name},config=NAME with one of: {', '.join(names[:12])}",
            )
    with _reading(dataset):
        found = datasets.load_dataset(dataset.name, config, revision=commit, streaming=True)
    splits = [str(name) for name in found]
    split = dataset.split or (splits[0] if len(splits) == 1 else USUAL_SPLIT)
    if split not in splits:
        raise FaqError(
            f"data set {dataset.name} has no split {split!r}",
            hint=f"--seeds {dataset.name},split=NAME with one of: {', '.join(splits)}",
        )
    return split, found[split]


def _reading(dataset: HubDataset) -> library_errors:
    hint = f"check the network and HF_TOKEN; {HOW}"
    return library_errors(f"data set {dataset.name} cannot be read", file=None, hint=hint)


def _form(dataset: HubDataset, first: list[Mapping[str, Any]]) -> Form:
    """The form of the rows: the named columns, or what is recognized."""
    columns = sorted({str(key) for row in first for key in row})
    for column in (dataset.text, dataset.answer, dataset.domain):
        if column is not None and column not in columns:
            raise FaqError(
                f"data set {dataset.name} has no column {column!r}", hint=f"columns: {', '.join(columns)}"
            )
    if dataset.text is not None:
        return column_form(dataset.text, dataset.answer)
    try:
        return recognize(first)
    except FaqError as error:
        raise FaqError(
            f"data set {dataset.name}: {error.problem}",
            hint=f"--seeds {dataset.name},text=COLUMN with one of: {', '.join(columns)}",
        ) from None


def _labelled(dataset: HubDataset, row: Mapping[str, Any], source: str, licence: str) -> dict[str, Any]:
    """A row with where it is from, and the data set's licence where it states none of its own."""
    labels: dict[str, Any] = {"source": source}
    if dataset.domain is not None:
        labels["domain"] = row.get(dataset.domain)
    if not (row.get("licence") or row.get("license")):
        labels["licence"] = licence
    return {**row, **labels}
