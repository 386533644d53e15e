"""What a run shows to people while it runs: progress on a terminal."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tango_beam import progress
from tango_beam.run import receipts
from tango_beam.run.store import Store


class Watch:
    """Shows rows, rows a second, escalation rate and time left; nothing where no terminal is.

    Args:
      weight: bytes of input, as the reader counts them.
      items: checkpoints expected, for runs whose workers are other processes.
      store: the output, where receipts tell of those.
      prices: of a million tokens of an endpoint's prompts and answers.
    """

    def __init__(
        self, weight: int, items: int, store: Store, prices: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        self._prices = prices
        self._weight, self._items, self._store = max(1, weight), max(1, items), store
        self._console = Console(stderr=True)
        self._shown: Progress | None = None
        self._started = self._looked = time.monotonic()
        self._from_storage = 0.0, 0
        progress.board.clear()

    def __enter__(self) -> Watch:
        if sys.stderr.isatty():
            self._shown = Progress(
                TextColumn("{task.fields[rows]:,} rows"),
                BarColumn(),
                TextColumn("{task.fields[rate]:,.0f}/s"),
                TextColumn("{task.fields[escalated]} escalated{task.fields[asked]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._shown.add_task(
                "", total=1.0, rows=0, rate=0.0, escalated="-", asked=""
            )
            self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._shown.stop()

    def tick(self) -> None:
        """Brings the line up to date."""
        if not self._shown:
            return
        board = progress.board
        answered = sum(board.tiers.values())
        if board.read:
            share = board.done / self._weight
        else:
            share, answered = self._from_receipts()
        beyond = sum(rows for tier, rows in board.tiers.items() if tier > 1)
        seconds = max(1e-3, time.monotonic() - self._started)
        self._shown.update(
            self._task,
            completed=min(1.0, share),
            rows=answered,
            rate=answered / seconds,
            escalated=f"{beyond / answered:.1%}" if answered and board.read else "-",
            asked=self._asked(share),
        )

    def _asked(self, share: float) -> str:
        """What an endpoint was asked so far, and what it costs now and in the end."""
        board = progress.board
        if not board.calls:
            return ""
        price = (board.tokens_in * self._prices[0] + board.tokens_out * self._prices[1]) / 1e6
        ahead = f" of about {price / share:,.2f}" if share > 0.001 else ""
        return f", {board.calls:,} calls" + (f", {price:,.2f} spent{ahead}" if price else "")

    def _from_receipts(self) -> tuple[float, int]:
        now = time.monotonic()
        if now - self._looked >= 2:
            self._looked = now
            done, rows = receipts.progress(self._store)
            self._from_storage = done / self._items, rows
        return self._from_storage
