"""Exact statistics, the guarantees that follow from them, and the certificate."""
