"""Imported once by the server process from which the step processes of a run are forked.

It builds the definitions, and where there is no GPU it imports the libraries that work on models: they
take longer to import than a small model takes to quantize, and each step would do so for itself. Beside
a GPU the steps import them, since CUDA does not work in a fork of a process that has asked for GPUs, as
an import may do.
"""

from importlib import import_module

from faq_pipeline.models.gpus import visible_gpus
from faq_pipeline.orchestration.definitions import default_definitions

MODEL_LIBRARIES = (
    "transformers.models.auto.modeling_auto",
    "transformers.generation.utils",
    "llmcompressor.entrypoints.oneshot",
    "lm_eval.evaluator",
)

default_definitions()
if not visible_gpus():
    for library in MODEL_LIBRARIES:
        import_module(library)
