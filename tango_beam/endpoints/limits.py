"""When the next request may be sent: a server's own wishes, tokens a minute, waits after failures.

All of it lives in one event loop; only what says so may be called from elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

logger = logging.getLogger(__name__)

LONG_WAIT, LOG_EVERY = 5.0, 30.0
BURST_SECONDS = 3.0
# Of an answer's time, over which as many requests as are allowed begin; and what the last one
# counts for where it is told how long that is.
SPREAD, NEWS = 0.25, 0.1
FIRST_APART = 0.001  # seconds, as long as nothing was answered


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a reply asks us to wait; None where it does not say so.

    Args:
      headers: of the reply, in lower case or of any: `retry-after-ms`, or `retry-after` in seconds
        or as a date, which is held against the server's own clock where the reply has it.
      now: this machine's time.

    Source: RFC 9110, 10.2.3; `retry-after-ms` is what Azure and OpenAI send.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    until = _date(headers.get("retry-after"))
    if until is None:
        return None
    since = _date(headers.get("date")) or now or datetime.now(UTC)
    return max(0.0, (until - since).total_seconds())


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def backoff(failures: int, patience: float) -> float:
    """Seconds to wait after a row's so manieth failure: twice as long each time, with jitter.

    Shares of the patience, so that ten tries outlast it: a server that is away for everybody is
    given up as a whole, and not row by row.
    """
    doubled = patience / 240 * 2.0 ** min(failures - 1, 16)
    return min(doubled, patience / 2) * random.uniform(0.75, 1.25)


class Gate:
    """Closed while the server wants no requests.

    Args:
      name: of the server, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._until = self._logged = -math.inf

    @property
    def left(self) -> float:
        """Seconds for which it stays closed; 0 or less where it is open."""
        return self._until - time.monotonic()

    def hold(self, seconds: float, status: int) -> None:
        """Closes it for so long from now on, or longer where it was closed for longer."""
        now = time.monotonic()
        self._until = max(self._until, now + seconds)
        if seconds > LONG_WAIT and now - self._logged > LOG_EVERY:
            self._logged = now
            logger.warning("%s answers %d: asked again in %.0f s", self._name, status, self.left)

    async def passed(self) -> None:
        """Waits until it is open."""
        while (left := self.left) > 0:
            await asyncio.sleep(left)


class Spacing:
    """Spreads requests that would begin at once, so that nobody has to deal with all together.

    Requests that are answered together are sent again together, and each then waits for all of them
    to be written and read. A quarter of an answer's time, shared out among the requests, is enough
    to part them, and so little that requests which come as they please hardly ever wait for it.

    Args:
      requests: under way at once.
    """

    def __init__(self, requests: int) -> None:
        self._share = SPREAD / requests
        self._seconds: float | None = None
        self._next = -math.inf

    async def turn(self) -> None:
        """Waits until a request may begin."""
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + (FIRST_APART if self._seconds is None else self._share * self._seconds)
        if turn > now:
            await asyncio.sleep(turn - now)

    def took(self, seconds: float) -> None:
        """Notes how long an answer took."""
        before = seconds if self._seconds is None else self._seconds
        self._seconds = before + NEWS * (seconds - before)


class TokenBucket:
    """Keeps tokens a minute to a limit: what requests are expected to take, then what they took.

    The bucket holds three seconds' worth, so that a minute never sees more than a twentieth above
    its limit, but for what requests under way take beyond what others took.

    Args:
      a_minute: the limit; None for none.
    """

    def __init__(self, a_minute: int | None) -> None:
        self._rate = a_minute / 60 if a_minute else math.inf
        self._left = self._rate * BURST_SECONDS
        self._filled = time.monotonic()
        self._turn = asyncio.Lock()
        self._used = self._replies = 0

    @property
    def waited_for(self) -> bool:
        """Whether a request waits for tokens."""
        return self._turn.locked()

    async def take(self, guess: float) -> float:
        """Waits until a request may be sent; requests pass in the order in which they come.

        Args:
          guess: tokens that it may take, believed as long as none has been answered.

        Returns:
          The tokens that were taken out for it, for `settle`.
        """
        if math.isinf(self._rate):
            return 0.0
        async with self._turn:
            while (missing := -self._level()) > 0:
                await asyncio.sleep(missing / self._rate)
            expected = self._used / self._replies if self._replies else guess
            self._left -= expected
            return expected

    def settle(self, expected: float, used: int | None) -> None:
        """Puts right what was taken out for a request.

        Args:
          expected: what `take` returned.
          used: what it really took, 0 where it failed; None where the server does not say.
        """
        if used is None or math.isinf(self._rate):
            return
        self._left += expected - used
        if used:
            self._used += used
            self._replies += 1

    def _level(self) -> float:
        now = time.monotonic()
        gained = (now - self._filled) * self._rate
        self._left, self._filled = min(self._left + gained, self._rate * BURST_SECONDS), now
        return self._left
