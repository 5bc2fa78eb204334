"""Everything that imports Dagster: assets, jobs, resources, sensors, schedules, runs, backfills."""
