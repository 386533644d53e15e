"""Finds by measuring in what each tier computes fastest, and how much of it at a time."""
