"""Chooses a cascade's thresholds and temperatures on a sample, and certifies what they cost."""
