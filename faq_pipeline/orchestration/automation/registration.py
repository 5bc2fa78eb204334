"""The sensor that keeps Dagster's partitions in step with the families and recipes."""

import dagster as dg

from faq_pipeline.core import stage_names
from faq_pipeline.errors import FaqError
from faq_pipeline.orchestration.known_partitions import known_partitions
from faq_pipeline.orchestration.partitions import MEMBERS, add_requests, split
from faq_pipeline.settings import Settings


def registration_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor `register_members`."""

    @dg.sensor(
        name="register_members",
        description="Adds a partition for every known or discovered member at its current revision, and for"
        " every cell that it can have.",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        target=[],
    )
    def register_members(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return register(context, settings.reread())

    return register_members


def register(context: dg.SensorEvaluationContext, settings: Settings) -> dg.SensorResult | dg.SkipReason:
    """Add missing partitions. Requests no runs.

    A cell that was ever materialized is a partition, whatever became of its recipe: its history stays
    in sight. So are those of a home that an earlier version made.

    Nothing is removed: a cell that is unknown here may be of a process with another FAQ_DATA, which runs
    it or has queued a backfill of it, and a run of a partition that is gone ends in an error of Dagster.
    """
    try:
        known = known_partitions(settings)
    except FaqError as error:  # a broken registry
        return dg.SkipReason(str(error))
    instance = context.instance
    made = instance.get_materialized_partitions(dg.AssetKey(stage_names.SEED_DATA))
    members = {*known.members, *instance.get_dynamic_partitions(str(MEMBERS.name))}
    made = {cell for cell in made if split(cell)[0] in members and split(cell)[1]}
    requests = add_requests(instance, known.members, [*known.cells, *sorted(made - {*known.cells})])
    if not requests:
        return dg.SkipReason("; ".join(["all members and cells are registered", *known.problems]))
    return dg.SensorResult(dynamic_partitions_requests=requests)
