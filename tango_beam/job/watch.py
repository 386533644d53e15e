"""What a run shows to people while it runs: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from tango_beam import logs, progress
from tango_beam.io import plan
from tango_beam.io.planned import Item
from tango_beam.job.pace import Figures, Pace, Seen
from tango_beam.run import receipts
from tango_beam.run.receipts import READ
from tango_beam.run.store import Store
from tango_beam.terminal import StatusLine

logger = logging.getLogger(__name__)

# Of a log file, or a pipe.
EVERY_SECONDS = 60.0
# Receipts are listed no more often than this, and take no more than this share of the time.
LISTED_SECONDS, LISTING_SHARE = 2.0, 0.05


class Watch:
    """Shows rows, their rate, the escalation rate, dead rows and the time left.

    What this process does it knows at once; where the workers are other processes, the receipts
    that they leave in the output say it.

    Args:
      items: the run's input, as it is read.
      store: the output.
      before: what earlier runs committed there.
      prices: of a million tokens of an endpoint's prompts and answers.
    """

    def __init__(
        self,
        items: Sequence[Item],
        store: Store,
        before: receipts.Progress,
        prices: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._prices = prices
        self._weight = max(1, sum(item.weight for item in items))
        self._stored = _Stored(items, store)
        now = time.monotonic()
        self._before = self._from_storage = self._stored.seen(before)
        self._pace, self._said, self._look_at = Pace(now, self._before), now, now + LISTED_SECONDS
        drawn = StatusLine.fits(sys.stderr) and not logs.is_json()
        self._line = StatusLine(sys.stderr) if drawn else None
        progress.board.clear()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        if self._line:
            self._line.clear()

    def tick(self) -> None:
        """Brings the line up to date, or writes the next one once it is due."""
        now = time.monotonic()
        found = self._pace.figures(now, self._seen(now))
        if self._line:
            self._line.draw(found.seen.share, found.line())
        elif now - self._said >= EVERY_SECONDS:
            self._said = now
            _say(found)

    def _seen(self, now: float) -> Seen:
        """What was done so far, by earlier runs as well."""
        board, before = progress.board, self._before
        if not board.read:
            return self._from_receipts(now)
        price = (board.tokens_in * self._prices[0] + board.tokens_out * self._prices[1]) / 1e6
        return Seen(
            share=min(1.0, before.share + board.done / self._weight),
            answered=before.answered + sum(board.tiers.values()),
            escalated=before.escalated + sum(r for tier, r in board.tiers.items() if tier > 1),
            dead=before.dead + board.dead,
            calls=board.calls,
            price=price,
        )

    def _from_receipts(self, now: float) -> Seen:
        if now >= self._look_at:
            try:
                self._from_storage = self._stored.look()
            except OSError as error:  # a store that fails for a while must not end a job
                logger.debug("receipts could not be listed: %s", error)
            took = time.monotonic() - now
            self._look_at = now + took + max(LISTED_SECONDS, took / LISTING_SHARE)
        return self._from_storage


def _say(found: Figures) -> None:
    logs.say(found.line(), found.fields())


class _Stored:
    """What receipts say of the run.

    Args:
      items: the run's input.
      store: the output.
    """

    def __init__(self, items: Sequence[Item], store: Store) -> None:
        self._items, self._store = items, store
        self._streamed: dict[str, int] = {}

    def look(self) -> Seen:
        """What is committed now."""
        return self.seen(receipts.progress(self._store))

    def seen(self, found: receipts.Progress) -> Seen:
        """What is committed, with the share of the input that it is."""
        rows = found.rows
        escalated = rows["escalated"] + rows["audited_later"]
        told = Seen(
            answered=rows["accepted"] + rows["audited"] + escalated,
            escalated=escalated,
            dead=rows["dead"],
        )
        return replace(told, share=self._done(found) / max(1, sum(i.weight for i in self._items)))

    def _done(self, found: receipts.Progress) -> int:
        """Bytes of input that are dealt with; of a stream, the receipts of its reader tell."""
        done: dict[int, int] = {}
        streams = []
        for name in found.names:
            parsed = receipts.ReceiptName.parse(name)
            index = plan.item_of(parsed.origin.checkpoint)[0]
            if parsed.step != READ:
                continue
            if self._items[index].stream:
                streams.append((index, name))
            else:
                done[index] = self._items[index].weight
        unread = [name for _, name in streams if name not in self._streamed]
        for name, receipt in zip(unread, receipts.load(self._store, unread), strict=True):
            item = self._items[plan.item_of(receipt.checkpoint)[0]]
            self._streamed[name] = item.weight if receipt.last else receipt.weight
        for index, name in streams:
            done[index] = min(self._items[index].weight, done.get(index, 0) + self._streamed[name])
        return sum(done.values())
