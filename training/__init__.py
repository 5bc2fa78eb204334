"""How the embedded model families were made: text generators, tokenizer, trainer, evaluation.

Nothing in `faq_pipeline` imports this package. It is kept so that the shipped models can be
rebuilt and audited from nothing: every training text is generated here.
"""
