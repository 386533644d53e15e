"""Accounting: every row is answered or dead, once, whatever breaks."""
