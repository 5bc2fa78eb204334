"""Automation: sensors and schedules. The decisions themselves are made by domain packages."""

import dagster as dg

from faq_pipeline.orchestration.automation.discovery import build_discovery_sensors
from faq_pipeline.orchestration.automation.registration import register_members
from faq_pipeline.orchestration.automation.reporting import report_staleness
from faq_pipeline.orchestration.automation.requantize import requantize_schedules
from faq_pipeline.settings import Settings


def build_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """All sensors, including one for each family with a discovery rule."""
    return [register_members, report_staleness, *build_discovery_sensors(settings)]


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """One schedule for each family with `requantize.cron`."""
    return requantize_schedules(settings)
