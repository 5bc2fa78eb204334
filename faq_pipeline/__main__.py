"""`python -m faq_pipeline` is `faq`."""

from faq_pipeline.cli.main import main

main()
