"""The pipeline for notebooks and scripts: cells, their stages and their rows, without Dagster.

What is made here is what `faq run` makes: the same store, the same fingerprints, the same checks. Every
function takes `settings`; where it is absent, they are read from the environment (FAQ_HOME, FAQ_DATA,
FAQ_DEVICE) at each call. Import the names from `faq_pipeline` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faq_pipeline.config.files import SUFFIXES, recipe_under
from faq_pipeline.config.files import load_recipe as read_recipe_file
from faq_pipeline.config.recipe import Recipe
from faq_pipeline.config.yaml import commented
from faq_pipeline.core import resolver, stage_names
from faq_pipeline.core.cell import Cell
from faq_pipeline.core.stage import Stage
from faq_pipeline.errors import FaqError, nearest_or_known
from faq_pipeline.execution import runner
from faq_pipeline.execution.graph import STAGES
from faq_pipeline.execution.runner import PlannedStage
from faq_pipeline.settings import Settings
from faq_pipeline.store import records, tables
from faq_pipeline.store.artifact import Artifact
from faq_pipeline.util.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from faq_pipeline.evaluation.comparison import Comparison
    from faq_pipeline.lineage.trace import LineageTrace
    from faq_pipeline.quickstart.prepare import Prepared


def load_recipe(
    recipe: str | Path, changes: Mapping[str, Any] | None = None, *, settings: Settings | None = None
) -> Recipe:
    """A recipe, with keys changed where asked for.

    Args:
        recipe: a recipe's name, or the path of its YAML file.
        changes: laid upon the recipe as a file that `extends` it would be: mappings merge, None takes
            a key away. They must hold a `name`, so that cells of both can be told apart. Relative
            paths start at the working directory.

    Raises:
        FaqError: no recipe is called that, its file is wrong, or the changes are.
    """
    settings = settings or Settings.from_environment()
    path = recipe if isinstance(recipe, Path) or recipe.endswith(SUFFIXES) else None
    if changes is None:
        return settings.catalog.recipe(str(recipe)) if path is None else read_recipe_file(Path(path))
    if "name" not in changes:
        raise FaqError(f"changes of {recipe} without a name", hint="add  'name': a name of your own")
    layer = (changes, [(Path(f"changes of {recipe}"), commented(changes))])
    if path is None:
        return settings.catalog.recipe_with(str(recipe), [layer])
    return recipe_under(Path(path), [layer])


def init_model(
    model: str | Path,
    seeds: str | Path | None = None,
    *,
    scheme: str = "W4A16",
    method: str | None = None,
    teacher: str | Path | None = None,
    tasks: Sequence[str] = (),
    baselines: bool = True,
    changes: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
) -> Prepared:
    """Write the family and the recipe for a model, as `faq init` does: what `resolve` then takes.

    `resolve` reads what was written; settings of your own that have been used before are handed on as
    `settings.reread()`.

    Args:
        model: a folder, a hub id, or a member's name.
        seeds: a file in a form that docs/QUANTIZE.md lists, or a preset's name.
        teacher: `self`, a folder, a hub id, a server's URL, or `auto`.
        changes: keys of the recipe to set: `{"quantization": {"dampening": 0.1}}`.

    Returns:
        The names of `member` and `recipe`, the `files` that were written, and `notes` on what was chosen.

    Raises:
        FaqError: the model, the teacher, the seeds or a change is unusable, or a file of ours was edited.
    """
    from faq_pipeline.quickstart.prepare import prepare
    from faq_pipeline.quickstart.quantize_options import QuantizeOptions

    options = QuantizeOptions(
        model=str(model),
        seeds=None if seeds is None else str(seeds),
        teacher=None if teacher is None else str(teacher),
        scheme=scheme,
        method=method,
        tasks=tasks,
        baselines=baselines,
        changes=changes or {},
    )
    return prepare(settings or Settings.from_environment(), options, by="faq_pipeline.init_model")


def resolve(member: str, recipe: str | Path | Recipe, *, settings: Settings | None = None) -> Cell:
    """The cell of a member and a recipe: what every other function takes.

    Args:
        member: its name, or `name@rev8` for one of its recorded revisions.
        recipe: a name, a YAML file, or what `load_recipe` returned.

    Raises:
        FaqError: an unknown name, a recipe for another family, weights that are unusable, or no
            teacher.
    """
    settings = settings or Settings.from_environment()
    found = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, settings=settings)
    return resolver.resolve_cell(settings.catalog, member, found, settings.device, settings.digests)


def plan(cell: Cell, *, settings: Settings | None = None) -> dict[str, PlannedStage]:
    """Every stage of a cell by name, in order, with its key and its artifact where there is one.

    Nothing is made. A stage's `key` is None while an input of it is missing.

    Raises:
        FaqError: the recipe names something unknown, or a file that is not there.
    """
    settings = settings or Settings.from_environment()
    with settings.catalog.attach_location(cell.recipe):
        return runner.plan(cell, STAGES, settings.store)


def materialize(
    cell: Cell,
    stage: str = stage_names.EVAL_REPORT,
    *,
    progress: Progress | None = None,
    settings: Settings | None = None,
) -> Artifact:
    """The artifact of a stage, made here if it is not there, after all that is upstream of it.

    Artifact: its folder is `path`, its figures are `metadata`; `read_rows` reads its tables. A
    quantized_checkpoint holds the model's folder, `artifact.file("checkpoint")`.

    Args:
        stage: a name out of `STAGES`.
        progress: told of each stage's work; see `faq_pipeline.util.progress`.

    Raises:
        FaqError: what can be found wrong with the cell before any work; a stage that fails for a
            reason the user can repair; a blocking check that fails, of a cached artifact too.
    """
    from faq_pipeline.execution.preflight import check
    from faq_pipeline.execution.recorded import materialize_recorded

    settings, progress = settings or Settings.from_environment(), progress or SilentProgress()
    if stage not in STAGES:
        raise FaqError(f"unknown stage {stage!r}", hint=nearest_or_known(stage, STAGES))
    check(cell, settings.catalog, settings.store)
    for one in _up_to(STAGES[stage], cell):
        artifact = materialize_recorded(settings, one.name, cell, progress).artifact
        if problem := one.blocking_problem(cell, artifact):
            raise FaqError(f"{one.name} of {cell.partition}: {problem}", file=artifact.path)
    return artifact


def read_rows(artifact: Artifact, table: str | None = None) -> list[Any]:
    """An artifact's rows as records: dataclasses of `faq_pipeline.store.records`.

    Args:
        table: a table's name (`samples`); may be left out where the artifact holds one table
            besides its measurements.

    Raises:
        FaqError: there is no such table, or there are several and none is named.
    """
    held = [name for name in records.RECORDS if artifact.file(f"{name}.parquet").is_file()]
    made = [name for name in held if f"{name}.parquet" not in artifact.manifest.measurements]
    if table is None and len(made) == 1:
        (table,) = made
    if table not in held:
        problem = "holds several tables" if table is None else f"holds no table {table!r}"
        raise FaqError(f"{artifact.manifest.stage} {problem}", hint=f"name one of: {', '.join(held)}")
    return tables.read_rows(artifact.file(f"{table}.parquet"), records.RECORDS[table])


def compare(member: str, *, settings: Settings | None = None) -> Comparison:
    """All evaluated recipes of a member beside each other, as `faq compare` has them.

    `recipes` holds one row a recipe, `markdown()` a table. Recipes count that lie in a data folder:
    put the YAML of your own into `recipes/` of a folder that FAQ_DATA names.

    Raises:
        FaqError: no such member, or none of its recipes is evaluated yet.
    """
    from faq_pipeline.evaluation.comparison import Comparison
    from faq_pipeline.execution.recipe_comparison import compare_member, read_comparison

    settings = settings or Settings.from_environment()
    made = compare_member(settings, member).artifact
    return Comparison(read_comparison(settings.store, made.fingerprint)["recipes"])


def trace(id: str, *, settings: Settings | None = None) -> LineageTrace:
    """Where something came from, and what was made of it.

    Args:
        id: a fingerprint or the id of a seed, candidate or sample; its first digits will do.

    Raises:
        FaqError: an unknown or ambiguous id, or an index that cannot be read now.
    """
    from faq_pipeline.lineage.trace_queries import trace as ask

    settings = settings or Settings.from_environment()
    return ask(settings.lineage, id)


def export_checkpoint(
    checkpoint: Artifact | str, folder: str | Path, *, settings: Settings | None = None
) -> Path:
    """Copy a checkpoint out of the store, for transformers and vLLM to load.

    Args:
        checkpoint: the artifact of a quantized_checkpoint, the first digits of its fingerprint, or
            `member|recipe` for the newest of a cell.
        folder: a new folder, which appears complete or not at all.

    Returns:
        The folder, absolute.

    Raises:
        FaqError: no checkpoint or several have that name, or the folder holds files.
    """
    from faq_pipeline.exports.source import find_source
    from faq_pipeline.quantization.export import export

    if isinstance(checkpoint, str):
        checkpoint = find_source(settings or Settings.from_environment(), checkpoint).checkpoint
    return export(checkpoint, Path(folder))


def _up_to(stage: Stage, cell: Cell) -> Iterator[Stage]:
    """What the cell's stage depends on, inputs first, and the stage itself."""
    wanted = {stage.name}
    for one in reversed(STAGES.values()):
        if one.name in wanted:
            wanted.update(one.inputs_for(cell))
    return (one for one in STAGES.values() if one.name in wanted)
