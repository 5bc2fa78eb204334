"""Contamination: find evaluation documents that occur in calibration samples.

Texts are compared as word sequences, after NFKC normalization and lower-casing, without white space and
punctuation. Words, numbers, brackets and operators are kept, so `(a or b) and c` differs from
`a or (b and c)`. Kinds of leak, strongest first:

- `exact` (blocking): the sample contains the whole document.
- `renumbered` (warning): the sample contains the whole document if all numbers are masked, i.e. the same
  question with other numbers. Procedurally generated seeds legitimately share templates with evaluation
  questions, so only the rate is informative. At most one is reported per sample.
- `ngram` (blocking): word 13-grams shared with the sample cover at least 80% of the document (the
  threshold above which the Llama 2 report calls a sample dirty).
- `overlap` (warning): shared 13-grams cover less.

A 13-gram counts only if, with numbers and single letters masked, it occurs in no other evaluation
document: what two evaluation questions share is their template, not their content. Documents of fewer
than 13 words have no 13-gram; only the exact and the masked search find them.

Not found: paraphrases and translations; questions of fewer than 13 words with one word changed; longer
questions without 13 unchanged words in a row; words that are joined or split differently. In scripts
without spaces a whole run of characters is one word, so only the exact search works there.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from faq_pipeline.evaluation.documents import Document, evaluation_documents
from faq_pipeline.store.records import Sample

__all__ = ["Document", "Leak", "evaluation_documents", "find_leaks", "normalise_text"]

N = 13
"""Number of words in an n-gram."""
DIRTY = 0.8
"""A document counts as leaked if shared n-grams cover at least this share of its words."""

Kind = Literal["exact", "ngram", "overlap", "renumbered"]
Words = tuple[str, ...]

_OPERATORS = "-*/^%"
_WORD = re.compile(rf"[^\W_]+|[()\[\]{{}}+<>=×÷]|(?<=[\d)\s])[{_OPERATORS}](?=[\s\d(])")
_BLOCKING = ("exact", "ngram")


@dataclass(frozen=True)
class Leak:
    """A document found in a sample, with the matching words."""

    sample_id: str
    document_id: str
    kind: Kind
    matched: str

    @property
    def blocking(self) -> bool:
        """Whether the leak stops the pipeline. Other leaks are only counted and shown."""
        return self.kind in _BLOCKING


def find_leaks(samples: Sequence[Sample], documents: Sequence[Document]) -> list[Leak]:
    """All leaks, sample by sample. Each pair of sample and document appears once, with its strongest kind."""
    index = _index(tuple(documents))
    return [leak for sample in samples for leak in _leaks_of(sample, index)]


def normalise_text(text: str) -> Words:
    """The normalized words of a text, as used for comparison.

    An operator needs an operand on both sides: at either end of the text it is left out. So normalizing
    the words again, with a space between them, changes nothing.
    """
    words = _WORD.findall(unicodedata.normalize("NFKC", text).lower())
    first, end = 0, len(words)
    while first < end and words[first] in _OPERATORS:
        first += 1
    while first < end and words[end - 1] in _OPERATORS:
        end -= 1
    return tuple(words[first:end])


@dataclass
class _Openings:
    """Documents by their first N words, or all words of shorter documents."""

    documents: dict[Words, list[Words]] = field(default_factory=lambda: defaultdict(list))
    first_words: set[str] = field(default_factory=set)
    sizes: set[int] = field(default_factory=set)

    def add(self, compared: Words, document: Words) -> None:
        """Add a document by the form in which it is compared."""
        opening = compared[:N]
        self.documents[opening].append(document)
        self.first_words.add(opening[0])
        self.sizes.add(len(opening))


@dataclass
class _Index:
    """An index of documents by their n-grams. Equal documents are kept once."""

    ids: dict[Words, str] = field(default_factory=dict)
    openings: _Openings = field(default_factory=_Openings)
    masked_openings: _Openings = field(default_factory=_Openings)
    grams: dict[Words, list[tuple[Words, int]]] = field(default_factory=lambda: defaultdict(list))
    templates: dict[Words, set[Words]] = field(default_factory=lambda: defaultdict(set))

    def add(self, document: Document) -> None:
        words = normalise_text(document.text)
        if not words or words in self.ids:
            return
        self.ids[words] = document.id
        self.openings.add(words, words)
        self.masked_openings.add(_without_numbers(words), words)
        template = _template(words)
        for start, gram in _grams(words):
            self.grams[gram].append((words, start))
            self.templates[template[start : start + N]].add(words)

    def specific(self, gram: Words) -> tuple[Words, int] | None:
        """The only document that contains this n-gram and its position there; None if it is not specific."""
        found = self.grams.get(gram, [])
        if len(found) == 1 and len(self.templates[_template(gram)]) == 1:
            return found[0]
        return None


@lru_cache(maxsize=2)
def _index(documents: tuple[Document, ...]) -> _Index:
    """The index of the documents. It is cached: a study checks many calibration sets against them."""
    index = _Index()
    for document in documents:
        index.add(document)
    return index


def _leaks_of(sample: Sample, index: _Index) -> Iterator[Leak]:
    words = normalise_text(sample.text)
    exact = dict.fromkeys(_contained(words, index.openings, lambda document: document))
    for document in exact:
        yield Leak(sample.id, index.ids[document], "exact", " ".join(document))
    masked = dict.fromkeys(_contained(_without_numbers(words), index.masked_openings, _without_numbers))
    renumbered = [document for document in masked if document not in exact]
    for document in renumbered[:1]:
        yield Leak(sample.id, index.ids[document], "renumbered", " ".join(_without_numbers(document)))
    for document, places in _shared(words, index).items():
        if document in masked:
            continue
        covered = {place + i for place in places for i in range(N)}
        kind: Kind = "ngram" if len(covered) >= DIRTY * len(document) else "overlap"
        first = min(places)
        yield Leak(sample.id, index.ids[document], kind, " ".join(document[first : first + N]))


def _contained(words: Words, openings: _Openings, form: Callable[[Words], Words]) -> Iterator[Words]:
    """Documents that `words` contains as a whole. `form` maps a document to its compared form."""
    starts = [start for start, word in enumerate(words) if word in openings.first_words]
    for size in sorted(openings.sizes):
        for start in starts:
            for document in openings.documents.get(words[start : start + size], ()):
                whole = form(document)
                if words[start : start + len(whole)] == whole:
                    yield document


def _shared(words: Words, index: _Index) -> dict[Words, list[int]]:
    """The positions of the sample's specific n-grams in each document."""
    places: dict[Words, list[int]] = defaultdict(list)
    for _, gram in _grams(words):
        found = index.specific(gram)
        if found is not None:
            places[found[0]].append(found[1])
    return places


def _grams(words: Words) -> Iterator[tuple[int, Words]]:
    for start in range(len(words) - N + 1):
        yield start, words[start : start + N]


def _without_numbers(words: Words) -> Words:
    return tuple("0" if not word.isalpha() and any(c.isdigit() for c in word) else word for word in words)


def _template(gram: Words) -> Words:
    return tuple("x" if len(word) == 1 and word.isalpha() else word for word in _without_numbers(gram))
