"""Discovery of new members of a family on a hub or in a folder."""
