"""The run directory: its files, receipts and commit, and the Beam steps that write them."""
