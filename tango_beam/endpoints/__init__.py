"""Asks an OpenAI-compatible endpoint for labels: requests, their limits, a cache of answers."""
