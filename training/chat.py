"""A family's chat format: its marks, its template, and a plain rendering for training text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chat:
    """How members of a family are spoken to.

    Attributes:
        template: the Jinja template that the tokenizer carries.
        tokens: the special tokens and the marks of thinking, in the order of their ids.
        begin: starts every document; empty where nothing does.
        end_of_text: ends every document, and pads.
        opening, end, after: around a turn; `{role}` in the opening is the role.
        think, think_end: around the reasoning.
        switch: the template's variable that turns reasoning on and off.
        system_prompts: what a system message says in training.
    """

    template: str
    tokens: tuple[str, ...]
    begin: str
    end_of_text: str
    opening: str
    end: str
    after: str
    think: str
    think_end: str
    switch: str
    system_prompts: tuple[str, ...]

    def id_of(self, token: str) -> int:
        """The id of one of the tokens."""
        return self.tokens.index(token)

    def open(self, role: str) -> str:
        """The opening of a turn."""
        return self.opening.format(role=role)

    def turns(self, user: str, system: str | None = None) -> str:
        """The user's message, after a system message if there is one, and the opening of the model's."""
        head = f"{self.open('system')}{system}{self.end}{self.after}" if system else ""
        return f"{head}{self.open('user')}{user}{self.end}{self.after}{self.open('assistant')}"

    def prompt(self, user: str, system: str | None = None) -> str:
        """What the model is given."""
        return self.begin + self.turns(user, system)

    def completion(self, reasoning: str, answer: str) -> str:
        """What the model writes: its reasoning, then the answer."""
        return f"{self.think}\n{reasoning}\n{self.think_end}\n\n{answer}{self.end}{self.after}"
