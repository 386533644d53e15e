"""What people read on a terminal: tables, durations, and what larger corpora would take."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from tango_beam import logs

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Line = tuple[str, str, str]
_BAR = 20
_SIZES = (("1 M", 1e6), ("100 M", 1e8), ("10 B", 1e10))


def show(table: RenderableType, *, logged: bool = True) -> None:
    """Prints a table, or a text, for people, on standard output.

    Args:
      table: to be shown.
      logged: a log collector gets its rows, too.
    """
    from rich.console import Console
    from rich.table import Table

    wide = None if sys.stdout.isatty() else 200
    Console(width=wide, highlight=False).print(table)
    if logged and logs.is_json() and isinstance(table, Table):
        logs.say(_plain(table.title) or "figures", {"rows": _rows(table)})


def _rows(table: Table) -> list[dict[str, str]]:
    """A table's rows, by the columns' names."""
    names = [
        _plain(column.header) or f"column_{number}"
        for number, column in enumerate(table.columns, start=1)
    ]
    cells = zip(*(column.cells for column in table.columns), strict=True)
    return [dict(zip(names, map(_plain, row), strict=True)) for row in cells]


def _plain(shown: Any) -> str:
    """What is shown, without its colours."""
    from rich.text import Text

    return Text.from_markup(shown).plain if isinstance(shown, str) else str(shown or "")


class StatusLine:
    """One line at the bottom of a terminal that is drawn again and again.

    The cursor is left at the line's start: when the terminal is made narrower, and cuts the line in
    two, the cursor stays on the first of them, and the next drawing clears both. (rich's bar leaves
    it at the end, and a piece of a line behind each time.)

    Args:
      stream: to the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @staticmethod
    def fits(stream: TextIO) -> bool:
        """Whether a stream leads to a terminal that can draw a line again."""
        return stream.isatty() and os.environ.get("TERM") != "dumb"

    def draw(self, share: float, text: str) -> None:
        """Draws a bar, if there is room for it, and what stands beside it.

        Args:
          share: of the bar that is full, 0 to 1.
          text: is cut where the terminal ends.
        """
        room = (os.get_terminal_size(self._stream.fileno()).columns or 80) - 1
        full = round(_BAR * share)
        if len(text) + 1 + _BAR <= room:
            text = f"{'━' * full}{'─' * (_BAR - full)} {text}"
        elif len(text) > room:
            text = f"{text[: room - 1]}…"
        self._write(f"{text}\r")

    def clear(self) -> None:
        """Takes the line away."""
        self._write("")

    def _write(self, text: str) -> None:
        self._stream.write(f"\x1b[J{text}")
        self._stream.flush()


def projections(rate: float, cores: int | None) -> Iterator[Line]:
    """What corpora would take at a rate, on one such set of workers and on several.

    Args:
      rate: rows a second, start-up apart.
      cores: that it took; None where that is not known.
    """
    workers = "machine" if cores else "cluster"
    an_hour = f"{3600 * rate / cores:,.0f}" if cores else f"{3600 * rate:,.0f}"
    unit = f"rows a core-hour, on {cores} cores" if cores else "rows an hour, on this cluster"
    yield "cost", an_hour, unit
    for name, count in _SIZES:
        times = [f"{duration(count / rate / many)} on {many}" for many in (1, 10, 100)]
        yield "", name, f"{', '.join(times)} such {workers}s"


def duration(seconds: float) -> str:
    """Seconds in the largest unit of which there are two or more."""
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"
