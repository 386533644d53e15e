"""A tier with its fastest settings on this machine, and what a row takes in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from tango_beam.config import TierConfig

_TUNED = ("precision", "batch_tokens", "backend", "threads", "kept_tokens")


@dataclass(frozen=True)
class Settings:
    """A tier with its fastest settings, and what a row takes in it.

    Attributes:
      tier: tuned.
      seconds: a row, tokenization apart.
      tokenizing: seconds a row for its tokens.
    """

    tier: TierConfig
    seconds: float
    tokenizing: float

    def write(self, path: Path) -> None:
        """Keeps what was measured, so that a build that goes on need not measure again."""
        kept = {name: getattr(self.tier, name) for name in _TUNED}
        stored = {**kept, "seconds": self.seconds, "tokenizing": self.tokenizing}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stored, indent=2) + "\n")

    @classmethod
    def read(cls, path: Path, tier: TierConfig) -> Settings | None:
        """What an earlier run measured of a tier; None where none did."""
        if not path.is_file():
            return None
        stored = json.loads(path.read_text())
        kept = {name: stored[name] for name in _TUNED}
        kept["kept_tokens"] = tuple(kept["kept_tokens"])
        return cls(replace(tier, **kept), stored["seconds"], stored["tokenizing"])

    @property
    def whole(self) -> float:
        """Seconds a row, tokens included."""
        return self.seconds + self.tokenizing
