"""How far a run is, how fast it goes and how long it will take: figures, and a line of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from tango_beam.terminal import duration

# A rate is that of the last so many seconds: a start, or a slow file, is forgotten behind them.
WINDOW_SECONDS = 120.0


@dataclass(frozen=True)
class Seen:
    """What a run has done at a moment.

    Attributes:
      share: of the input, 0 to 1.
      answered: rows, by whichever tier.
      escalated: of these, by a later one.
      dead: rows without an answer.
      calls: of an endpoint.
      price: of these.
    """

    share: float = 0.0
    answered: int = 0
    escalated: int = 0
    dead: int = 0
    calls: int = 0
    price: float = 0.0

    @property
    def rows(self) -> int:
        """Dealt with, whatever came of them."""
        return self.answered + self.dead


@dataclass(frozen=True)
class Figures:
    """What people are told of a run.

    Attributes:
      seen: what it has done.
      rate: rows a second, lately.
      seconds_left: at the pace of late; None where nobody can say.
    """

    seen: Seen
    rate: float
    seconds_left: float | None

    def line(self) -> str:
        """All of it, for people."""
        seen = self.seen
        if not seen.rows:
            return "no row is stored yet"
        said = [f"{seen.rows:,} rows ({seen.share:.1%})", f"{self.rate:,.0f}/s"]
        if seen.answered:
            said.append(f"{seen.escalated / seen.answered:.1%} escalated")
        said.append(f"{seen.dead:,} dead")
        if seen.calls:
            said.append(f"{seen.calls:,} calls")
        if seen.price:
            ahead = f" of about {seen.price / seen.share:,.2f}" if seen.share > 0.001 else ""
            said.append(f"{seen.price:,.2f} spent{ahead}")
        if self.seconds_left is not None:
            said.append(f"about {duration(self.seconds_left)} left")
        return ", ".join(said)

    def fields(self) -> dict[str, Any]:
        """All of it, for a log collector; what is not known is null."""
        seen, left = self.seen, self.seconds_left
        escalated = round(seen.escalated / seen.answered, 6) if seen.answered else None
        asked = {"calls": seen.calls, "price": round(seen.price, 6)} if seen.calls else {}
        return {
            "rows": seen.rows,
            "share": round(seen.share, 6),
            "rows_a_second": round(self.rate, 3),
            "escalated": seen.escalated,
            "escalation_rate": escalated,
            "dead": seen.dead,
            "seconds_left": None if left is None else round(left, 1),
            **asked,
        }


class Pace:
    """Turns what was seen at moments into rates.

    Args:
      at: seconds, on a clock of the caller's.
      seen: before anything was done: of a run that is resumed, what earlier ones did.
    """

    def __init__(self, at: float, seen: Seen) -> None:
        self._moments = deque([(at, seen)])

    def figures(self, at: float, seen: Seen) -> Figures:
        """What people are told at a moment."""
        moments = self._moments
        if at - moments[-1][0] >= 1:  # they are asked for several times a second
            moments.append((at, seen))
        while len(moments) > 1 and at - moments[1][0] >= WINDOW_SECONDS:
            moments.popleft()
        began, before = moments[0]
        seconds = max(1e-3, at - began)
        rate = max(0, seen.rows - before.rows) / seconds
        gained = seen.share - before.share
        left = (1 - seen.share) * seconds / gained if gained > 0 else None
        return Figures(seen, rate, left)
