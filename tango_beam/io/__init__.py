"""Reading formats: files found, planned and read; no Beam, and nothing of a run."""
