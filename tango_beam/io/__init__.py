"""Reading, writing, dead letters, receipts and the manifest."""
