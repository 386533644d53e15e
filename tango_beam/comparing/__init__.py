"""`pipelines.compare`: two runs over one corpus, side by side."""
