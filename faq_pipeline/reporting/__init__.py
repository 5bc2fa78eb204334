"""What is said of a finished cell: its outcome in a sentence, and its report."""
