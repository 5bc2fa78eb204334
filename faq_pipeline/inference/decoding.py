"""Generates one batch in several calls of `generate`; finished rows leave the batch between calls."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from faq_pipeline.config.recipe import Sampling
from faq_pipeline.inference.logprobs import ChosenLogProbs

LEG = 24
"""Steps between two looks at which rows have ended. Part of what a batch's samples depend on, since
all rows draw from one random generator."""


@dataclass
class Continuation:
    """One row's output: token ids (with the end mark if it `ended`) and their log-probability."""

    ids: list[int] = field(default_factory=list)
    logprob: float = 0.0
    ended: bool = False


def forget_sampling_defaults(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Remove everything but the end marks from the member's generation config.

    `generate` fills every field that is not set from it (Qwen3 ships top_k 20, and the library's
    own default is 50): sampling would then not be what the recipe says.
    """
    ends = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id if ends is None else ends,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
        disable_compile=True,
    )


def continue_batch(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, sampling: Sampling
) -> list[Continuation]:
    """Continue each row to an end mark or for `max_new_tokens`, with torch's global generator.

    In a single call, a batch would run at its full width until its longest row ends, which doubles the
    work for samples of mixed lengths. Models with a recurrent state do run in a single call: see
    `rows_can_leave`.

    Args:
        ids: left-padded prompts, (batch, length).
        mask: 1 where a prompt's tokens are, (batch, length).
    """
    written = [Continuation() for _ in ids]
    open_rows, cache = written, None
    leg = LEG if rows_can_leave(model) else sampling.max_new_tokens
    for start in range(0, sampling.max_new_tokens, leg):
        noted = ChosenLogProbs()
        out = model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=_config(sampling, min(leg, sampling.max_new_tokens - start)),
            logits_processor=[noted],
        )
        ended = _take(out.sequences[:, ids.shape[1] :], open_rows, noted, model.generation_config)
        if ended.all() or start + leg >= sampling.max_new_tokens:
            break
        going = (~ended).nonzero().squeeze(1)
        open_rows = [open_rows[row] for row in going.tolist()]
        cache = out.past_key_values
        cache.batch_select_indices(going)
        ids = out.sequences[going]
        mask = torch.nn.functional.pad(mask[going], (0, ids.shape[1] - mask.shape[1]), value=1)
    return written


def rows_can_leave(model: PreTrainedModel) -> bool:
    """Whether rows can be taken out of the model's cache, as they can where all of it is keys and values.

    The cache of a state-space model, of linear attention or of short convolutions has no such method.
    """
    from transformers.cache_utils import DynamicCache, LinearAttentionCacheLayerMixin

    if getattr(model, "_is_stateful", False):
        return False
    layers = DynamicCache(config=model.config.get_text_config(decoder=True)).layers
    return not any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)


def _take(
    new: torch.Tensor, rows: list[Continuation], noted: ChosenLogProbs, config: GenerationConfig
) -> torch.Tensor:
    """Add a leg's tokens, (batch, steps), to their rows; returns which rows have ended, (batch,)."""
    ends = config.eos_token_id
    marks = torch.tensor([] if ends is None else ends, dtype=torch.long, device=new.device)
    at_end = torch.isin(new, marks.reshape(-1))
    ended = at_end.any(1)
    lengths = torch.where(ended, at_end.int().argmax(1) + 1, new.shape[1])
    figures = zip(
        rows,
        new.tolist(),
        lengths.tolist(),
        noted.sums(new, lengths).tolist(),
        ended.tolist(),
        strict=True,
    )
    for row, ids, length, logprob, done in figures:
        row.ids += ids[:length]
        row.logprob += logprob
        row.ended = done
    return ended


def _config(sampling: Sampling, steps: int) -> GenerationConfig:
    config = GenerationConfig(max_new_tokens=steps, do_sample=False, return_dict_in_generate=True)
    if sampling.temperature > 0:
        config.update(do_sample=True, temperature=sampling.temperature, top_p=sampling.top_p, top_k=0)
    return config
