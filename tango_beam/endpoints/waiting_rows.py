"""Rows that wait for an answer: in turn among those who ask, and an equal row only once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from tango_beam.endpoints.replies import Reply

_NONE_YET = Reply()


class Call:
    """Rows that somebody asked for together.

    Args:
      rows: how many.

    Attributes:
      replies: by place; one without anything where there is none yet.
      done: ends when all are there.
    """

    def __init__(self, rows: int) -> None:
        self.replies = [_NONE_YET] * rows
        self.done: Future[list[Reply]] = Future()
        self._left = rows

    def take_in(self, places: Sequence[int], reply: Reply) -> None:
        """Notes the reply of some of its rows, which are equal."""
        for place in places:
            self.replies[place] = reply
        self._left -= len(places)
        if not self._left and not self.done.done():
            self.done.set_result(self.replies)


@dataclass(eq=False)
class Row:
    """A row that waits for an answer.

    Attributes:
      key: equal rows have the same.
      texts: of the row.
      askers: who wants it, and where it stands there; the first one pays.
    """

    key: bytes
    texts: tuple[str, ...]
    askers: list[tuple[Call, list[int]]] = field(default_factory=list)


class WaitingRows:
    """All rows that nobody has an answer for yet; for one thread alone."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Row] = {}
        self._queues: deque[tuple[Call, deque[Row]]] = deque()

    def __len__(self) -> int:
        """Rows that wait, those that are asked for just now among them."""
        return len(self._rows)

    def add(self, call: Call, rows: dict[bytes, tuple[tuple[str, ...], list[int]]]) -> None:
        """Takes in a call's rows, by key: texts, and places in the call."""
        new: deque[Row] = deque()
        for key, (texts, places) in rows.items():
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = Row(key, texts)
                new.append(row)
            row.askers.append((call, places))
        if new:
            self._queues.append((call, new))

    def take(self) -> Row | None:
        """The next row to ask for; calls take turns. None where there is none."""
        while self._queues:
            call, queue = self._queues.popleft()
            row = queue.popleft()
            if queue:
                self._queues.append((call, queue))
            if row.askers:
                return row
            self._rows.pop(row.key)
        return None

    def answer(self, row: Row, reply: Reply) -> int:
        """Hands a row's reply to all who asked for it.

        Returns:
          How many rows had it without a request of their own.
        """
        if self._rows.get(row.key) is row:
            self._rows.pop(row.key)
        free = 0
        shared = replace(reply, calls=0, tokens_in=0, tokens_out=0, cached=True)
        for number, (call, places) in enumerate(row.askers):
            payer = places[:1] if number == 0 else []
            others = places[len(payer) :]
            free += len(others)
            for some, told in ((payer, reply), (others, shared)):
                if some:
                    call.take_in(some, told)
        return free

    def drop(self, call: Call) -> None:
        """Forgets a call that nobody waits for any more; a row that others want stays."""
        for row in self._rows.values():
            row.askers = [asker for asker in row.askers if asker[0] is not call]

    def clear(self) -> list[Call]:
        """Forgets everything; returns the calls that waited."""
        calls = {id(call): call for row in self._rows.values() for call, _ in row.askers}
        self._rows.clear()
        self._queues.clear()
        return [*calls.values()]
