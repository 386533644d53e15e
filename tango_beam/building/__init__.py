"""Builds a certified cascade out of a slow model and a corpus without labels."""
