"""Dagster's private API, all of it that this package uses, a module a subject.

Dagster may change these without notice: tests/orchestration/test_dagster_internals.py has a test for each
that fails when a new release does.
"""
