"""All that imports Dagster: definitions, assets, jobs, resources, sensors, schedules, runs, backfills."""
