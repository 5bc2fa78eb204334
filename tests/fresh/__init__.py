"""What `.ci/fresh-install` uses beside the installed package: a model as users have it, and a look."""
