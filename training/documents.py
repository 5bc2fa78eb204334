"""The mixture of training documents, and their packing into rows of token ids."""

from __future__ import annotations

from itertools import accumulate
from random import Random

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from training import reading, world
from training.settings import Mix, Settings
from training.splits import GENERATOR_SEEDS
from training.tasks import LEVELS, STYLES, Problem, draw_in_split

Rows = npt.NDArray[np.uint16]


class Documents:
    """An endless, seeded stream of training documents in the shares of a mix."""

    def __init__(self, settings: Settings, mix: Mix, rng: Random, split: str = "training") -> None:
        self._rng = rng
        self._split = split
        self._chat = settings.chat
        self._world = world.load(settings.prose)
        self._system = mix.system
        self._kinds = tuple(mix.documents)
        self._kind_weights = list(accumulate(mix.documents.values()))
        self._level_weights = list(accumulate(mix.levels))
        self._style_weights = list(accumulate(mix.styles))
        self._tasks = settings.tasks
        self._task_weights = list(accumulate(mix.tasks.get(name, 1.0) for name in self._tasks))

    def kind(self) -> str:
        """Draw the kind of the next document."""
        return self._rng.choices(self._kinds, cum_weights=self._kind_weights)[0]

    def draw(self, kind: str) -> str:
        """One document of a kind, without the marks around it."""
        rng, chat = self._rng, self._chat
        if kind == "prose":
            return self._passage().text
        if kind == "reading":
            passage = self._passage()
            thought = reading.thought(passage, self._style())
            user = rng.choice(self._world.prompts).format(passage=passage.text)
            return self._opening(user) + chat.completion(thought, f"Answer: {passage.conclusion}")
        problem = self._problem()
        answer = f"Answer: {problem.answer}"
        if kind == "think":
            thought = problem.thought(self._style())
            return self._opening(problem.question) + chat.completion(thought, answer)
        if kind == "direct":
            return self._opening(problem.question) + chat.completion("", answer)
        if kind == "terse":
            return f"Question: {problem.question}\n{answer}"
        if kind == "raw":
            return f"{problem.question}\n{problem.thought(self._style())}\n{answer}"
        raise ValueError(f"unknown kind of document: {kind}")

    def __next__(self) -> str:
        return self._chat.begin + self.draw(self.kind()) + self._chat.end_of_text

    def __iter__(self) -> Documents:
        return self

    def _style(self) -> int:
        return self._rng.choices(range(len(STYLES)), cum_weights=self._style_weights)[0]

    def _problem(self) -> Problem:
        rng = self._rng
        name = rng.choices(self._tasks, cum_weights=self._task_weights)[0]
        level = rng.choices(LEVELS, cum_weights=self._level_weights)[0]
        return draw_in_split(rng, name, level, self._split)

    def _passage(self) -> world.Passage:
        return self._world.passage_in_split(self._rng, self._rng.choice(self._world.topic_names), self._split)

    def _opening(self, user: str) -> str:
        rng = self._rng
        system = rng.choice(self._chat.system_prompts) if rng.random() < self._system else None
        return self._chat.turns(user, system)


def block(settings: Settings, mix: Mix, tokenizer: Tokenizer, index: int, rows: int) -> Rows:
    """Block number `index` of the training text: the same for any number of workers.

    Every row starts at the start of a document; a row's last document is cut off.
    """
    width = settings.row_tokens
    seed = f"{settings.seed}/{GENERATOR_SEEDS['training']}/{index}"
    documents = Documents(settings, mix, Random(seed))
    packed = np.zeros((rows, width), dtype=np.uint16)
    row = column = 0
    while True:
        texts = [next(documents) for _ in range(64)]
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            ids = encoding.ids[: width - column]
            packed[row, column : column + len(ids)] = ids
            column += len(ids)
            if column == width:
                row, column = row + 1, 0
                if row == rows:
                    return packed
