"""A calibration set as files that other quantizers read: text, chat messages, token ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from faq_pipeline.config.recipe import ORIGINAL, RANDOM
from faq_pipeline.core import stage_names
from faq_pipeline.errors import FaqError
from faq_pipeline.exports.source import Source
from faq_pipeline.models.chat import Message, render
from faq_pipeline.models.transcript import assistant_turns
from faq_pipeline.prompting.prompts import seed_messages
from faq_pipeline.store.records import Candidate, Sample, Seed, TokenRow
from faq_pipeline.store.tables import read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turns = Callable[[Sample], list[Message]]


def write_text(source: Source, folder: Path) -> list[str]:
    """Write `calibration.jsonl` (`id`, `domain`, `text`) and the same text in one `calibration.txt`.

    Special tokens are written out, as llama-imatrix reads them with `--parse-special`.

    Returns:
        Lines for the user.
    """
    samples = samples_of(source)
    rows = ({"id": s.id, "domain": s.domain, "text": s.text} for s in samples)
    _write_jsonl(folder / "calibration.jsonl", rows)
    whole = "".join(s.text if s.text.endswith("\n") else f"{s.text}\n" for s in samples)
    (folder / "calibration.txt").write_text(whole, encoding="utf-8")
    return [f"{len(samples)} samples in calibration.jsonl, and in calibration.txt for llama-imatrix -f"]


def write_messages(source: Source, folder: Path) -> list[str]:
    """Write `messages.jsonl`: `id`, `domain` and `messages` of every sample, as chat tools take them.

    A reply that reasons has the form that the target's own template renders to the sample's text: the
    reasoning within `content`, or beside it as `reasoning_content`.

    Returns:
        Lines for the user; they say how many samples the template renders to the calibration set's text.

    Raises:
        FaqError: the set is of random tokens, which are no messages.
    """
    from faq_pipeline.models.loading import load_tokenizer

    samples, turns = samples_of(source), _turns(source)
    tokenizer, thinking = load_tokenizer(source.cell.target), source.cell.family.thinking
    rows, same = [], 0
    for sample in samples:
        messages, is_same = _faithful(tokenizer, turns(sample), sample.text, thinking)
        rows.append({"id": sample.id, "domain": sample.domain, "messages": messages})
        same += is_same
    _write_jsonl(folder / "messages.jsonl", rows)
    written = f"{len(rows)} samples in messages.jsonl"
    if same == len(rows):
        return [f"{written}; the chat template renders each to the calibration set's text"]
    return [f"{written}; the chat template renders {same} of them to the calibration set's text"]


def write_parquet(source: Source, folder: Path) -> list[str]:
    """Write `calibration.parquet`: `input_ids` and `attention_mask` of every row, as our quantizer saw it.

    Returns:
        Lines for the user.
    """
    rows = rows_of(source)
    ids = [row.input_ids for row in rows]
    columns = {"input_ids": ids, "attention_mask": [[1] * len(one) for one in ids]}
    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("attention_mask", pa.list_(pa.int8()))])
    pq.write_table(
        pa.Table.from_pydict(columns, schema=schema), folder / "calibration.parquet", compression="zstd"
    )
    longest, tokens = max(map(len, ids)), sum(map(len, ids))
    return [f"{len(ids)} rows of at most {longest} tokens, {tokens:,} in all, in calibration.parquet"]


def samples_of(source: Source) -> list[Sample]:
    """The samples of the calibration set, in the order of its rows."""
    samples = read_rows(source.calibration.file("samples.parquet"), Sample)
    return sorted(samples, key=lambda sample: (sample.row, sample.start))


def rows_of(source: Source) -> list[TokenRow]:
    """The rows of the calibration set, in order."""
    return sorted(read_rows(source.calibration.file("rows.parquet"), TokenRow), key=lambda row: row.row)


def _turns(source: Source) -> Turns:
    """The conversation of a sample, its reply with `reasoning_content` where the target reasoned."""
    calibration, family = source.calibration, source.cell.family
    keeps = calibration.manifest.identity["calibration"].get("reasoning", "keep") == "keep"
    seeds = source.made_from(calibration, stage_names.SEED_DATA).file("seeds.parquet")
    corpus = source.made_from(calibration, stage_names.REGENERATED_CORPUS).file("candidates.parquet")
    by_id = {seed.id: seed for seed in read_rows(seeds, Seed)}
    candidates = {one.id: one for one in read_rows(corpus, Candidate)}

    def turns(sample: Sample) -> list[Message]:
        seed, one = by_id[sample.seed_id], candidates.get(sample.candidate_id)
        if one is not None and one.source == RANDOM:
            raise FaqError(f"{source.named} is of random tokens, which are no messages", hint="use --to text")
        if one is None or one.source == ORIGINAL:  # originals beside regenerated samples are in no corpus
            asked: Message = {"role": "user", "content": seed.text}
            return [asked, {"role": "assistant", "content": seed.answer}] if seed.answer else [asked]
        reply: Message = {"role": "assistant", "content": one.answer}
        if keeps and one.reasoning:
            reply["reasoning_content"] = one.reasoning
        return [*seed_messages(seed, family), reply]

    return turns


def _faithful(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], text: str, thinking: Any
) -> tuple[list[Message], bool]:
    """The messages in the form that renders to the text, and whether one does.

    Reasoning goes within the content where no form does: that is what most chat data looks like.
    """
    *before, last = messages
    forms = [messages]
    if "reasoning_content" in last:
        replies = assistant_turns(last["reasoning_content"], last["content"], thinking)
        forms = [[*before, reply] for reply in reversed(replies)]
    if tokenizer.chat_template is not None:
        for form in forms:
            if render(tokenizer, form, thinking, generation_prompt=False).rstrip() == text.rstrip():
                return form, True
    return forms[0], False


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    def lines() -> Iterator[str]:
        for row in rows:
            yield json.dumps(row, ensure_ascii=False) + "\n"

    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines())
