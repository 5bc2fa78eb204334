"""What the fingerprints of the shipped cells are."""
