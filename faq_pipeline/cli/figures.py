"""The tables of a finished run, in 80 columns."""

from __future__ import annotations

from typing import Any

from faq_pipeline.cli.display import figure, out, said, table, wrapped

KL_IN_WORDS = (
    "KL: how far the checkpoint's next-token probabilities are from the unquantized model's; 0 is equal,"
    " lower is better. On tasks: on the unquantized model's own {texts}. On prose: on general text, unlike"
    " the seeds"
)
ANSWERS, REPLIES = "answers to the tasks", "replies to development prompts, as no task is asked"
"""On what `KL on tasks` is measured, with tasks and without."""


def show_figures(result: dict[str, Any]) -> None:
    """Print a run's accuracy, by recipe and by task, its divergence, and what regeneration gained.

    Args:
        result: of `execute`: `result` and `baselines`.
    """
    main, rows = result["result"], [*result["baselines"], result["result"]]
    asked = main["reference"] is not None  # else the recipe names no task
    if asked:
        _accuracy(main, rows)
        _by_task(main, rows)
    kl = [[row["recipe"], figure(row["kl"], 2, 1000), figure(row["kl_prose"], 2, 1000)] for row in rows]
    columns = ["recipe", "KL on tasks", "KL on prose"]
    title = f"{main['member']}: KL divergence, 1e-3 nats a token, 95% intervals"
    out().print(table(title, columns, kl))
    wrapped(KL_IN_WORDS.format(texts=ANSWERS if asked else REPLIES))
    if asked:
        wrapped(f"recovery: {figure(main['recovery'])}")
        wrapped(f"loss reduction: {figure(main['loss_reduction'])} {said(main)}")


def _accuracy(main: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    shown = [["(unquantized)", figure(main["reference"], 1, 100), ""]]
    shown += [[row["recipe"], figure(row["quantized"], 1, 100), figure(row["loss"], 1, 100)] for row in rows]
    title = f"{main['member']}: {main['questions']:,} questions, 95% intervals"
    out().print(table(title, ["recipe", "accuracy, %", "loss, points"], shown))


def _by_task(main: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """One task needs no table: it is all there is."""
    if len(main["per_task"]) < 2:
        return

    def percent(row: dict[str, Any], task: str, name: str) -> str:
        found = row["per_task"].get(task)
        return "-" if found is None else f"{100 * found[name]['value']:.1f}"

    shown = [
        [
            task,
            str(figures["n"]),
            percent(main, task, "reference"),
            *(percent(row, task, "quantized") for row in rows),
        ]
        for task, figures in main["per_task"].items()
    ]
    columns = ["task", "questions", "unquantized", *(row["label"] for row in rows)]
    out().print(table(f"{main['member']}: accuracy by task, %", columns, shown))
