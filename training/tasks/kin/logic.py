"""Boolean expressions, reduced one operation at a time."""

from __future__ import annotations

from random import Random

from training.tasks.base import Draft, Steps, task

Expression = str | tuple[str, "Expression"] | tuple["Expression", str, "Expression"]
WORD = {True: "true", False: "false"}
_OPERATIONS = {1: 2, 2: 3, 3: 5, 4: 7}


def grow(rng: Random, operations: int) -> Expression:
    """A random expression with so many operations over the letters A to D."""
    if operations == 0:
        return rng.choice("ABCD")
    if rng.random() < 0.25:
        return ("not", grow(rng, operations - 1))
    left = rng.randrange(operations)
    return (
        grow(rng, left),
        rng.choice(("and", "or")),
        grow(rng, operations - 1 - left),
    )


def show(expression: Expression, values: dict[str, str]) -> str:
    """The expression as text; every compound part stands in brackets."""
    if isinstance(expression, str):
        return values.get(expression, expression)
    parts = []
    for part in expression:
        text = show(part, values)
        is_word = isinstance(part, str)
        parts.append(text if is_word else f"({text})")
    return " ".join(parts)


def reduce_once(expression: Expression) -> tuple[Expression, str]:
    """Evaluate the first operation whose operands are known; also what was evaluated."""
    assert not isinstance(expression, str)
    for index, part in enumerate(expression):
        if not isinstance(part, str):
            smaller, done = reduce_once(part)
            parts = list(expression)
            parts[index] = smaller
            return tuple(parts), done  # type: ignore[return-value]
    if len(expression) == 2:
        value = WORD[expression[1] == "false"]
    elif expression[1] == "and":
        value = WORD[expression[0] == expression[2] == "true"]
    else:
        value = WORD["true" in (expression[0], expression[2])]
    return value, f"{' '.join(expression)} = {value}"  # type: ignore[arg-type]


def substitute(expression: Expression, values: dict[str, str]) -> Expression:
    """Letters replaced by their truth values."""
    if isinstance(expression, str):
        return values.get(expression, expression)
    return tuple(substitute(part, values) for part in expression)  # type: ignore[return-value]


def evaluate(expression: Expression) -> str:
    """The value of an expression without letters."""
    while not isinstance(expression, str):
        expression, _ = reduce_once(expression)
    return expression


_ASK = (
    "{given}. What is {e}?",
    "{given}. Is this true or false: {e}?",
    "Given that {given}, evaluate {e}.",
)


@task("logic")
def logic(rng: Random, level: int) -> Draft:
    """The truth value of an expression over four letters."""
    expression = grow(rng, _OPERATIONS[level])
    values = {letter: WORD[rng.random() < 0.5] for letter in "ABCD"}
    text = show(expression, {})
    used = [letter for letter in "ABCD" if letter in text]
    given = ", ".join(f"{letter} is {values[letter]}" for letter in used)
    start = substitute(expression, values)
    answer = evaluate(start)

    def steps() -> Steps:
        current = start
        shown = show(current, {})
        result: Steps = [(shown, f"Put in the values: {shown}.")]
        while not isinstance(current, str):
            current, done = reduce_once(current)
            shown = show(current, {})
            if isinstance(current, str):
                result.append((done, f"{done.replace(' =', ' is')}."))
            else:
                result.append((shown, f"{done.replace(' =', ' is')}, so {shown}."))
        return result

    question = rng.choice(_ASK).format(given=given, e=text)
    return Draft(question, answer, "put in values, reduce", steps)
