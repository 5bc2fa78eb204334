"""The sensor that registers known members as Dagster partitions."""

import dagster as dg

from faq_pipeline.config.family import Member
from faq_pipeline.errors import FaqError
from faq_pipeline.models.weights import find_weights
from faq_pipeline.orchestration.partitions import MEMBERS
from faq_pipeline.settings import Settings


def known_partitions(settings: Settings) -> tuple[list[str], list[str]]:
    """The partition keys of all members with usable weights, and the problems of the others."""
    found = [
        partition_of(member, settings)
        for family in settings.catalog.families.values()
        for member in family.members
    ]
    return [key for key, _ in found if key], [problem for _, problem in found if problem]


def partition_of(member: Member, settings: Settings) -> tuple[str, str]:
    """The member's partition key and "", or "" and the problem with its weights."""
    try:
        return find_weights(member, settings.digests).partition, ""
    except FaqError as error:
        return "", str(error)


def registration_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor `register_members`."""

    @dg.sensor(
        name="register_members",
        description="Adds a partition for every known or discovered member at its current revision.",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        target=[],
    )
    def register_members(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return register(context, settings.reread())

    return register_members


def register(context: dg.SensorEvaluationContext, settings: Settings) -> dg.SensorResult | dg.SkipReason:
    """Add missing partitions. Requests no runs."""
    try:
        keys, problems = known_partitions(settings)
    except FaqError as error:  # a broken family file, or a broken registry
        return dg.SkipReason(str(error))
    existing = set(context.instance.get_dynamic_partitions(str(MEMBERS.name)))
    new = [key for key in keys if key not in existing]
    if not new:
        return dg.SkipReason("; ".join(["all members are registered", *problems]))
    return dg.SensorResult(dynamic_partitions_requests=[MEMBERS.build_add_request(new)])
