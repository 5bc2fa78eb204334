"""Known members become partitions."""

import dagster as dg

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import find_weights
from faq_pipeline.orchestration.partitions import MEMBERS
from faq_pipeline.settings import Settings


def known_partitions(settings: Settings) -> tuple[list[str], list[str]]:
    """Partition keys of all members whose weights are usable, and the problems of the others."""
    found = [
        partition_of(member, settings)
        for family in settings.catalog.families.values()
        for member in family.members
    ]
    return [key for key, _ in found if key], [problem for _, problem in found if problem]


def partition_of(member: Member, settings: Settings) -> tuple[str, str]:
    """The member's partition key and "", or "" and why its weights are not usable."""
    try:
        return find_weights(member, settings.digests).partition, ""
    except FaqError as error:
        return "", str(error)


@dg.sensor(
    name="register_members",
    description="Makes a partition of every known member, discovered ones too, at its current revision.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    target=[],
)
def register_members(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Adds missing partitions; requests no runs."""
    try:
        keys, problems = known_partitions(Settings.from_environment())
    except FaqError as error:  # a broken family file, or a broken registry
        return dg.SkipReason(str(error))
    there = set(context.instance.get_dynamic_partitions(str(MEMBERS.name)))
    new = [key for key in keys if key not in there]
    if not new:
        return dg.SkipReason("; ".join(["all members are registered", *problems]))
    return dg.SensorResult(dynamic_partitions_requests=[MEMBERS.build_add_request(new)])
