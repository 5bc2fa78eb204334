"""A plugin of faq_pipeline: an expert, a selector, an engine, a quantization method and a scheme."""
