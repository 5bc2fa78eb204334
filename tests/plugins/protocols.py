"""The example plugin's parts under the types that the pipeline asks of them: `make lint` checks it."""

from __future__ import annotations

from faq_example_plugin import brevity, damped_gptq, mse_scheme, shortest, template_engine

from faq_pipeline.calibration.selectors.protocol import Selector
from faq_pipeline.competition.expert import Expert
from faq_pipeline.inference.factory import EngineKind
from faq_pipeline.quantization.methods import Method
from faq_pipeline.quantization.schemes import Scheme

expert: Expert = brevity.BREVITY
selector: Selector = shortest.SHORTEST
engine: EngineKind = template_engine.TEMPLATE
method: Method = damped_gptq.DAMPED_GPTQ
scheme: Scheme = mse_scheme.W4A16_MSE
