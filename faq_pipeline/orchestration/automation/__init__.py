"""Automation: sensors and schedules. The decisions themselves are made by domain packages."""

import dagster as dg

from faq_pipeline.orchestration.automation.discovery import build_discovery_sensors
from faq_pipeline.orchestration.automation.registration import registration_sensor
from faq_pipeline.orchestration.automation.reporting import staleness_sensor
from faq_pipeline.orchestration.automation.requantize import requantize_schedules
from faq_pipeline.settings import Settings


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """All sensors, including one for each family with a discovery rule. Each tick rereads all YAML files."""
    return [registration_sensor(settings), staleness_sensor(settings), *build_discovery_sensors(settings)]


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """One schedule for each family with `requantize.cron`. Each tick rereads all YAML files."""
    return requantize_schedules(settings)
