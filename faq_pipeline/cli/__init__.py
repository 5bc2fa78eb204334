"""The `faq` command line."""
