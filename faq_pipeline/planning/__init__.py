"""What is out of date and what to do about it: cell status, staleness, schedule ticks, retention."""
