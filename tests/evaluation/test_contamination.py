from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faq_pipeline.core.cell import Cell
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.contamination import (
    Document,
    Leak,
    evaluation_documents,
    find_leaks,
    normalise_text,
)
from faq_pipeline.store.records import Sample

QUESTION = (
    "A baker in Ardel fills 14 trays with rolls before dawn. Each tray holds 24 rolls, and by noon the"
    " market women have bought all but 31 of them. How many rolls were sold that morning?"
)
RENUMBERED = QUESTION.replace("14", "17").replace("24", "36").replace("31", "8")
PARAPHRASED = (
    "Before sunrise, 14 trays of 24 rolls each are baked in Ardel. At midday 31 rolls are left over."
    " Work out the number that the women from the market took home."
)
SHORT = "Multiply 77 by 8."


def _sample(text: str, name: str = "s") -> Sample:
    return Sample(name, "c", "seed", "d", 0, 0, 1, text)


def _leaks(text: str, *documents: str) -> list[Leak]:
    return find_leaks([_sample(text)], [Document(f"t/{i}", d) for i, d in enumerate(documents)])


def _kinds(text: str, *documents: str) -> list[str]:
    return [leak.kind for leak in _leaks(text, *documents)]


def test_a_verbatim_leak_is_found_in_any_dress() -> None:
    dressed = "<|im_start|>user\n" + QUESTION.upper().replace(" ", "  \n").replace(",", " –") + "<|im_end|>"
    (leak,) = _leaks(dressed, "Another question of no consequence at all.", QUESTION)
    assert (leak.sample_id, leak.document_id, leak.kind, leak.blocking) == ("s", "t/1", "exact", True)
    assert leak.matched.startswith("a baker in ardel")


def test_a_short_question_is_found_verbatim() -> None:
    assert _kinds(f"Please, {SHORT} Thank you", SHORT) == ["exact"]
    assert _kinds("Multiply 77 by 80.", SHORT) == ["renumbered"]


def test_a_renumbered_leak_is_a_warning() -> None:
    (leak,) = _leaks(f"Question: {RENUMBERED}", QUESTION)
    assert (leak.kind, leak.blocking) == ("renumbered", False)


def test_one_renumbered_leak_a_sample_is_enough() -> None:
    documents = [f"Multiply {n} by 8." for n in range(20)]
    assert _kinds("Multiply 99 by 8.", *documents) == ["renumbered"]


def test_a_paraphrase_is_missed() -> None:
    assert _kinds(PARAPHRASED, QUESTION) == []


def test_a_leak_with_a_changed_word_is_found_by_its_13_grams() -> None:
    assert _kinds(QUESTION.replace("market", "village"), QUESTION) == ["ngram"]
    assert _leaks(QUESTION.replace("market", "village"), QUESTION)[0].blocking


def test_part_of_a_question_is_a_warning() -> None:
    (leak,) = _leaks(QUESTION[:90], QUESTION)
    assert (leak.kind, leak.blocking) == ("overlap", False)
    assert leak.matched in " ".join(normalise_text(QUESTION))


def test_a_short_question_with_a_changed_word_is_missed() -> None:
    assert _kinds("Multiply seventy-seven by 8.", SHORT) == []


def test_what_two_evaluation_questions_share_is_no_evidence() -> None:
    template = "stones are put in rows of {} as far as they will go. How many stones are left over, says {}?"
    one, two, seed = (template.format(n, who) for n, who in ((8, "Ugo"), (9, "Vera"), (12, "Gita")))
    assert _kinds(seed, one, two) == []
    assert _kinds(seed, one) == ["overlap"]


def test_brackets_and_operators_tell_questions_apart() -> None:
    assert _kinds("A is true. What is (not A) and A?", "A is true. What is not (A and A)?") == []
    assert _kinds("What is 17 - 4?", "What is 17 + 4?") == []
    assert _kinds("What is 17+4?", "What is 17 + 4?") == ["exact"]
    assert _kinds("a well-known fact of life", "A well known fact of life") == ["exact"]


def test_a_match_is_of_whole_words() -> None:
    assert _kinds("Multiply 77 by 81", "Multiply 77 by 8") == ["renumbered"]
    assert _kinds("xmultiply 77 by 8", "Multiply 77 by 8") == []


def test_every_sample_and_document_is_looked_at() -> None:
    samples = [_sample(QUESTION, "a"), _sample("nothing", "b"), _sample(f"{SHORT} {QUESTION}", "c")]
    leaks = find_leaks(
        samples, [Document("q", QUESTION), Document("q again", QUESTION), Document("m", SHORT)]
    )
    assert {(leak.sample_id, leak.document_id) for leak in leaks} == {("a", "q"), ("c", "q"), ("c", "m")}


words = st.lists(
    st.text(string.ascii_letters + string.digits, min_size=1, max_size=6), min_size=1, max_size=40
)


@given(document=words, before=words, after=words, mark=st.sampled_from([" ", "\n", ", ", ". ", " -- "]))
@settings(max_examples=100)
def test_a_planted_document_is_always_found(document: list, before: list, after: list, mark: str) -> None:
    planted = mark.join([*before, *document, *after]).swapcase()
    assert "exact" in _kinds(planted, " ".join(document))


@given(text=st.text(st.sampled_from("07a( )\n-*/^%+=.") | st.characters(), max_size=60))
@example(text="0/ ")
@example(text=" - a")
@settings(max_examples=100)
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalise_text(text)
    assert normalise_text(" ".join(once)) == once


def test_documents_are_questions_and_prose(tiny_cell: Cell) -> None:
    documents = evaluation_documents(tiny_cell.recipe.evaluation)
    assert documents[0] == Document("tiny_sums/0", "What is 0 + 0?")
    assert sum(d.id.startswith("tiny_sums/") for d in documents) == 8
    assert sum(d.id.startswith("p") for d in documents) == 6


def test_fields_and_long_answers_are_documents(tiny_cell: Cell, tmp_path: Path) -> None:
    solution = "First she gives five apples away and then seven of them remain."
    row = {"id": "a b c d", "q": QUESTION, "options": ["x"], "a": solution, "note": QUESTION + " Note."}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "t.yaml").write_text(
        "task: t\ndataset_path: json\ntest_split: test\ndataset_kwargs: {data_files: {test: rows.jsonl,"
        ' train: rows.jsonl}}\ndoc_to_text: "Question: {{q}}\\nAnswer:"\ndoc_to_target: "{{a}}"\n'
    )
    spec = tiny_cell.recipe.evaluation.model_copy(update={"include": tmp_path, "tasks": ["t"]})
    documents = [d for d in evaluation_documents(spec) if d.id.startswith("t/")]
    assert documents == [Document("t/0", QUESTION), Document("t/0 a", solution)]


def test_data_that_is_not_json_is_read_by_the_harness(tiny_cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('question,answer\n"What is 5 + 6, tell me?",11\n')
    (tmp_path / "c.yaml").write_text(
        "task: c\ndataset_path: csv\ntest_split: test\ndataset_kwargs: {data_files: {test: rows.csv}}\n"
        "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: answer\n"
    )
    spec = tiny_cell.recipe.evaluation.model_copy(update={"include": tmp_path, "tasks": ["c"]})
    assert evaluation_documents(spec)[0] == Document("c/0", "What is 5 + 6, tell me?")


def test_malformed_prose_is_named_with_its_line(tiny_cell: Cell, tmp_path: Path) -> None:
    prose = tmp_path / "prose.jsonl"
    prose.write_text('{"id": "a", "text": "fine"}\n{"id": "b"}\n')
    spec = tiny_cell.recipe.evaluation.model_copy(update={"prose": prose})
    with pytest.raises(FaqError, match=r"prose\.jsonl:2: missing key 'text'"):
        evaluation_documents(spec)
