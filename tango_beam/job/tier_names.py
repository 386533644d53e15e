"""What the tiers of a run are called: as on the page of the build that made them, where it lies."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from tango_beam.run.manifest import Cascade, Manifest

# What a build leaves in a cascade directory.
_REPORT = "report.json"


def tier_names(manifest: Manifest) -> dict[str, str]:
    """Names for people, such as `tier 1, static`, by stage (`tier 1`), the first tier first.

    Args:
      manifest: of the run.
    """
    stages = [f"tier {number}" for number in range(1, len(manifest.cascade.thresholds) + 2)]
    built = _built(manifest.cascade, manifest.finished)
    if len(built) != len(stages):
        return {stage: stage for stage in stages}
    return {stage: f"{stage}, {name}" for stage, name in zip(stages, built, strict=True)}


def _built(cascade: Cascade, finished: str) -> list[str]:
    """The tiers' names in the build's report, if it was there when the run ended; else none."""
    sources = [Path(tier["source"]) for tier in cascade.tiers]
    folders = {source.parent for source in sources if source.is_absolute()}
    if len(folders) != 1:
        return []
    try:
        report = json.loads((folders.pop() / _REPORT).read_text(encoding="utf-8"))
        # A build that came later may have other tiers in the same directory.
        if datetime.fromisoformat(report["made"]) > datetime.fromisoformat(finished):
            return []
        return [str(tier["name"]) for tier in report["tiers"]]
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is another's
        return []
