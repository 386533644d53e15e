"""What a tier computes in, and how much of it at a time, found by measuring."""
