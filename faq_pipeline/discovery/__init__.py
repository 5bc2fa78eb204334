"""New members of a family: what a hub or a folder shows, what of it is new, and what is remembered."""
