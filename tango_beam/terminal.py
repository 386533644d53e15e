"""What people read on a terminal: tables, durations, and what larger corpora would take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

Line = tuple[str, str, str]
_SIZES = (("1 M", 1e6), ("100 M", 1e8), ("10 B", 1e10))


def show(table: RenderableType) -> None:
    """Prints a table, or a text, for people, on standard output."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 200
    Console(width=wide, highlight=False).print(table)


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
