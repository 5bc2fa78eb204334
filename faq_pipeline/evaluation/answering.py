"""Answer the evaluation questions with the model in memory, or with a temporary server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from faq_pipeline.core.cell import Cell
from faq_pipeline.core.engines import served_target_engine, target_traits
from faq_pipeline.errors import FaqError
from faq_pipeline.evaluation.harness import Answered, answer_questions, run_tasks
from faq_pipeline.inference.factory import IN_PROCESS
from faq_pipeline.models.weights import Weights
from faq_pipeline.quantization.serving_format import has_kernel, scheme_in_words, served_as
from faq_pipeline.util.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from faq_pipeline.evaluation.drafts import Drafts
    from faq_pipeline.evaluation.served_lm import ServedLM
    from faq_pipeline.inference.engine import ServedEngine


def answer_and_load(
    cell: Cell,
    tokenizer: PreTrainedTokenizerBase,
    load: Callable[[], PreTrainedModel],
    progress: Progress,
    *,
    checkpoint: Path | None = None,
    drafts: Drafts | None = None,
) -> tuple[list[Answered], PreTrainedModel]:
    """Answer the questions with the recipe's engine, and load the same model in memory.

    A server is stopped before the model is loaded, since each may need all of a GPU's memory.

    Args:
        load: loads the model.
        checkpoint: folder of a quantized checkpoint to serve; None for the unquantized target.
        drafts: see `answer_questions`; not used with a server.

    Returns:
        The answers (none where the recipe names no task), and the model in memory.

    Raises:
        FaqError: the engine cannot serve the model, or see `run_tasks`.
    """
    spec, thinking = cell.recipe.evaluation, cell.family.thinking
    if not spec.tasks:
        return [], load()
    if target_traits(cell).served:
        return _answer_served(cell, tokenizer, progress, checkpoint), load()
    model = load()
    return answer_questions(model, tokenizer, spec, thinking, progress, drafts), model


def _answer_served(
    cell: Cell, tokenizer: PreTrainedTokenizerBase, progress: Progress, checkpoint: Path | None
) -> list[Answered]:
    @contextmanager
    def opened() -> Iterator[ServedLM]:
        from faq_pipeline.evaluation.served_lm import ServedLM

        with _served(cell, checkpoint) as engine:
            yield ServedLM(engine, tokenizer, cell.family.thinking, progress)

    return run_tasks(opened, cell.recipe.evaluation)


@contextmanager
def _served(cell: Cell, checkpoint: Path | None) -> Iterator[ServedEngine]:
    """A running engine that serves the model.

    Raises:
        FaqError: the server cannot load the model; the hint names the alternative.
    """
    from faq_pipeline.inference.server.server_error import ServerFailedError
    from faq_pipeline.models.loading import release

    with ExitStack() as stack:
        weights = cell.target
        if checkpoint is not None:
            folder = stack.enter_context(_served_form(cell, checkpoint))
            weights = _in_folder(cell.target, folder)
        engine = served_target_engine(cell, weights)
        release()  # free GPU memory of earlier stages of this process
        try:
            stack.enter_context(engine)
        except ServerFailedError as error:
            what = repr(weights.name) if checkpoint is None else f"the quantized {weights.name!r}"
            raise FaqError(
                f"engine {cell.recipe.evaluation.engine!r} cannot serve {what}: {error.problem}",
                hint=f"set evaluation.engine: {IN_PROCESS}, or see {error.file}",
            ) from error
        yield engine


@contextmanager
def _served_form(cell: Cell, checkpoint: Path) -> Iterator[Path]:
    """The checkpoint, or a temporary dense copy if vLLM has no kernel for its scheme.

    Raises:
        FaqError: no kernel for rounded activations, for which dense weights would be another model. Not left
            to vLLM, which loads some of these checkpoints all the same.
    """
    from faq_pipeline.quantization.dense import write_dense

    spec = cell.recipe.quantization
    if served_as(spec, cell.device) == "packed":
        if not has_kernel(spec, cell.device):
            groups = f" in groups of {spec.group_size}" if isinstance(spec.group_size, int) else ""
            raise FaqError(
                f"engine {cell.recipe.evaluation.engine!r} cannot serve the quantized {cell.target.name!r}:"
                f" it has no kernel on this device for {scheme_in_words(spec)}{groups}",
                hint=f"set evaluation.engine: {IN_PROCESS}",
            )
        yield checkpoint
        return
    with TemporaryDirectory(prefix="faq-dense-") as folder:
        yield write_dense(checkpoint, cell.target.member, Path(folder), cell.device)


def _in_folder(weights: Weights, folder: Path) -> Weights:
    """The same member with its files in another folder."""
    member = weights.member.model_copy(update={"path": folder, "hub": None, "revision": None})
    return replace(weights, member=member)
