"""Imported once by the server process from which step processes are forked: it builds the definitions."""

from faq_pipeline.orchestration.definitions import default_definitions

default_definitions()
