"""Small made-up corpora, and handlers for a tier of one's own."""
