"""Temperature and thresholds."""
