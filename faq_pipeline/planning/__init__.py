"""Planning: cell status, staleness, schedule ticks and retention of artifacts."""
