"""How the time of a build is shared out among its steps. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

# Shares of the whole time: what the second tier says of drawn rows, and of augmented ones; the
# students' training, by kind; measuring. The rest is for planning, signing, and what goes wrong.
LABEL, AUGMENT, MEASURE = 0.30, 0.12, 0.12
TRAIN = {"static": 0.06, "bilstm": 0.16, "tinybert": 0.18, "layers": 0.18, "encoder": 0.2}


def timed_seconds(minutes: float) -> float:
    """Seconds of work that are timed at each of some forty settings of each of some four tiers."""
    return min(1.0, max(0.02, 60 * minutes * MEASURE / 160))


@dataclass
class Clock:
    """What is left of `--minutes`.

    Attributes:
      minutes: of the whole build, those of earlier runs not counted.
    """

    minutes: float
    started: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Seconds since the build began."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, 60 * self.minutes - self.spent)

    def share(self, part: float) -> float:
        """Seconds that a step of such a share of the whole may take, of those that are left.

        Half of it at least: a build that is late is better than one that learns nothing.
        """
        whole = 60 * self.minutes * part
        return max(whole / 2, min(whole, self.left))


def rows_within(seconds: float, seconds_a_row: float) -> int:
    """How many rows a tier answers in a time."""
    return int(seconds / max(1e-9, seconds_a_row))


def epochs_within(seconds: float, seconds_an_epoch: float, rows: int, steps_of: int) -> int:
    """Passes over rows that a training makes in a time.

    Few rows take more passes: about as many steps teach a student, whatever its rows are.

    Args:
      seconds: that there are.
      seconds_an_epoch: that a pass takes.
      rows: in a pass.
      steps_of: rows that a training sees in all, about, with enough of them.
    """
    wanted = min(60, max(3, round(steps_of / max(1, rows))))
    return max(1, min(wanted, int(seconds / max(1e-9, seconds_an_epoch))))
