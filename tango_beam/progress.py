"""Counts of what this process has done so far, for people to watch; never for accounts.

The DoFns of a local run work in the driver's own process and note here what they do. Elsewhere the
board stays empty and the driver counts receipts instead.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Board:
    """Rows and bytes seen by this process.

    Attributes:
      read: rows read.
      tiers: rows answered, by tier number.
      done: units of input taken in (see `io.plan.Item.weight`).
      dead: rows without an answer.
      calls, tokens_in, tokens_out: that endpoints took, with the tokens of prompts and answers.
    """

    read: int = 0
    done: int = 0
    dead: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tiers: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def took_in(self, rows: int, done: int, dead: int = 0) -> None:
        """Notes rows that a reader took in, and how many of them no model can read."""
        with self._lock:
            self.read += rows
            self.done += done
            self.dead += dead

    def answered(self, tier: int, rows: int, failed: int = 0) -> None:
        """Notes rows that a tier answered, and rows on which it failed."""
        with self._lock:
            self.tiers[tier] = self.tiers.get(tier, 0) + rows
            self.dead += failed

    def asked(self, calls: int, tokens_in: int, tokens_out: int) -> None:
        """Notes what an endpoint was asked."""
        with self._lock:
            self.calls += calls
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out

    def clear(self) -> None:
        """Starts anew."""
        with self._lock:
            self.read = self.done = self.dead = self.calls = self.tokens_in = self.tokens_out = 0
            self.tiers = {}


board = Board()
