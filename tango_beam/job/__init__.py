"""The main job: options, checks, runners, progress, summary."""
