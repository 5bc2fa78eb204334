"""`faq`: the command line."""
