"""JSON Schemas of what crosses the project's border."""
