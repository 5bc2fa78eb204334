from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig, PreTrainedModel

from faq_pipeline.core.cell import Cell
from faq_pipeline.evaluation.drafts import accept_drafts
from faq_pipeline.evaluation.generation import GenerationRow, Limits, continue_rows
from faq_pipeline.models.loading import load_model

PROMPTS = [[1, 70, 80, 90], [1, 33], [1, 60, 61, 62, 63, 64, 65], [5, 44, 9], [7, 7, 7, 7, 7]]
LIMIT = 150


@pytest.fixture(scope="module")
def model(tiny_cell: Cell) -> PreTrainedModel:
    """In float32 and with a rough head: greedy choices are then clear, and not one token for ever."""
    torch.manual_seed(1)
    model = load_model(tiny_cell.target, "cpu").float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.add_(0.3 * torch.randn_like(weight))
    model.generation_config = GenerationConfig()
    return model


def _limits(model: PreTrainedModel, **changes: object) -> Limits:
    base = {
        "max_new_tokens": LIMIT,
        "batch_size": 2,
        "end_ids": (),
        "pad_id": 0,
        "stopped": lambda row: False,
    }
    return Limits(**{**base, **changes})  # type: ignore[arg-type]


def _alone(model: PreTrainedModel, prompt: list[int], ends: tuple[int, ...] = ()) -> list[int]:
    config = GenerationConfig(
        max_new_tokens=LIMIT, do_sample=False, eos_token_id=list(ends) or None, pad_token_id=0
    )
    ids = torch.tensor([prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)  # type: ignore[operator]
    return out[0, len(prompt) :].tolist()


def _run(model: PreTrainedModel, **changes: object) -> tuple[list[GenerationRow], list[int]]:
    rows, told = [GenerationRow(list(prompt)) for prompt in PROMPTS], []
    continue_rows(model, rows, _limits(model, **changes), told.append)
    return rows, told


def test_rounds_and_batches_write_what_one_generate_writes(model: PreTrainedModel) -> None:
    rows, told = _run(model)
    assert [row.ids for row in rows] == [_alone(model, prompt) for prompt in PROMPTS]
    assert sum(told) == len(PROMPTS)
    assert not any(row.ended for row in rows)


def test_ended_rows_leave_and_the_others_go_on(model: PreTrainedModel) -> None:
    # Two tokens that some rows write early, some late.
    written = [_alone(model, prompt) for prompt in PROMPTS]
    ends = (written[0][3], written[2][90])
    rows, told = _run(model, end_ids=ends)
    expected = [_alone(model, prompt, ends) for prompt in PROMPTS]
    assert [row.ids for row in rows] == expected
    assert [row.ended for row in rows] == [ids[-1] in ends for ids in expected]
    assert len({len(ids) for ids in expected}) > 1
    assert sum(told) == len(PROMPTS)


def test_a_stop_between_rounds_ends_a_row(model: PreTrainedModel) -> None:
    rows, _ = _run(model, stopped=lambda row: row.prompt == PROMPTS[1])
    assert [row.ended for row in rows] == [prompt == PROMPTS[1] for prompt in PROMPTS]
    assert len(rows[1].ids) < LIMIT == len(rows[0].ids)


def test_the_members_own_sampling_defaults_do_not_enter(tiny_cell: Cell) -> None:
    from faq_pipeline.evaluation.recording_lm import RecordingLM
    from faq_pipeline.models.loading import load_tokenizer
    from faq_pipeline.util.progress import SilentProgress

    model = load_model(tiny_cell.target, "cpu")
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=3, repetition_penalty=1.3, eos_token_id=[9]
    )
    thinking = tiny_cell.family.thinking
    lm = RecordingLM(
        model, load_tokenizer(tiny_cell.target), batch_size=2, thinking=thinking, progress=SilentProgress()
    )
    assert lm.model.generation_config.repetition_penalty in (None, 1.0)
    assert lm._ends == (9, 2)


@pytest.mark.parametrize("spoilt", [None, 0, 7, 60, LIMIT - 1])
def test_drafts_change_no_answer(model: PreTrainedModel, spoilt: int | None) -> None:
    """Right drafts, drafts that go wrong somewhere, and rows that have none."""
    ends = (_alone(model, PROMPTS[0])[40],)
    alone = [_alone(model, prompt, ends) for prompt in PROMPTS]
    drafts = [list(ids) for ids in alone]
    drafts[3] = []
    for draft in drafts:
        if spoilt is not None and spoilt < len(draft):
            draft[spoilt] = (draft[spoilt] + 1) % 300
    rows, told = [GenerationRow(list(prompt)) for prompt in PROMPTS], []
    limits = _limits(model, end_ids=ends)
    accept_drafts(model, rows, drafts, limits, told.append)
    taken = sum(len(row.ids) for row in rows)
    continue_rows(model, rows, limits, told.append)
    assert [row.ids for row in rows] == alone
    assert sum(told) == len(PROMPTS)
    assert taken >= (sum(map(len, drafts)) if spoilt is None else len(PROMPTS) - 1)


def test_a_draft_longer_than_the_limit_is_cut(model: PreTrainedModel) -> None:
    alone = _alone(model, PROMPTS[1])
    row = GenerationRow(list(PROMPTS[1]))
    limits = _limits(model, max_new_tokens=20)
    accept_drafts(model, [row], [alone], limits, lambda done: None)
    continue_rows(model, [row], limits, lambda done: None)
    assert row.ids == alone[:20]
