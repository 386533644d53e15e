"""A CSV stream cut into blocks of whole rows, in bounded memory.

A quoted field may hold line breaks, so a row ends at a line break outside of quotes. A quote opens
a field only at its beginning, as RFC 4180 has it; elsewhere it is a character. A field over several
lines whose closing quote has more behind it, or that never closes, was never meant to be one: its
first line is broken, and the lines behind are rows again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tango_beam.arrays import Int64
from tango_beam.io.format import BadLine
from tango_beam.io.json_array import BOM
from tango_beam.io.lines import BLOCK_BYTES, MAX_LINE_BYTES

_QUOTE, _BREAK, _RETURN = ord('"'), ord("\n"), ord("\r")
_HEAD_BYTES = 4096
_BLANK = re.compile(rb"[\r\n]*+")


@dataclass(frozen=True)
class RowBlock:
    """Whole rows.

    Attributes:
      data: the rows that are not broken, each with its line break.
      starts: where they begin in `data`, int64, shape [rows].
      numbers: theirs in the file, from 0, int64, shape [rows].
      bad: broken rows; their offsets are numbers too.
    """

    data: bytes
    starts: Int64
    numbers: Int64
    bad: list[BadLine]

    def row(self, index: int) -> bytes:
        """A row without its line break."""
        stop = self.starts[index + 1] if index + 1 < len(self.starts) else len(self.data)
        return self.data[self.starts[index] : stop].rstrip(b"\r\n")


class RowStream:
    """Reads a stream forward, row after row. Blank lines are no rows.

    Args:
      stream: has `read(n)`, `stored()` and `close()`; at the beginning of the file.
      separator: between fields.
      read_bytes: bytes asked for at once.
    """

    def __init__(self, stream: Any, separator: str, read_bytes: int = BLOCK_BYTES) -> None:
        self._stream, self._separator = stream, separator
        self._read_bytes = read_bytes
        self._buffer = b""
        self._ended = False
        self._number = -1  # the next row's; the header's is -1
        while len(self._buffer) < len(BOM) and self._fill():
            pass
        self._buffer = self._buffer.removeprefix(BOM)

    @property
    def number(self) -> int:
        """The next row's, without the header, from 0."""
        return self._number

    @property
    def stored(self) -> int:
        """Bytes of the stored file taken in."""
        return self._stream.stored()

    @property
    def at_end(self) -> bool:
        """Whether no row is left; may read ahead to find out."""
        while _BLANK.fullmatch(self._buffer):
            if not self._fill():
                return True
        return False

    def close(self) -> None:
        """Closes the stream beneath."""
        self._stream.close()

    def header(self) -> bytes | None:
        """The first row, None where there is none."""
        for block in self.blocks(0):
            return block.row(0) if len(block.starts) else block.bad[0].raw
        return None

    def skip_to(self, number: int) -> None:
        """Reads up to a row."""
        for _ in self.blocks(number):
            pass

    def blocks(self, stop: int | None) -> Iterator[RowBlock]:
        """Blocks of the rows up to the one numbered `stop`; None for all that are left."""
        while stop is None or self._number < stop:
            ends, broken = self._whole_rows()
            long = np.flatnonzero(np.diff(ends, prepend=0) > MAX_LINE_BYTES)
            if len(long):
                ends, broken = ends[: long[0]], ""
            if len(ends):
                yield from self._rows(ends, stop)
            elif broken:
                yield from self._first_line(broken)
            elif len(long) or len(self._buffer) > MAX_LINE_BYTES:
                yield from self._first_line(
                    f"expected at most {MAX_LINE_BYTES:,} bytes in a row, found more, or a quote "
                    "that does not close"
                )
            elif not self._fill():
                if not self._buffer:
                    return
                yield from self._first_line("expected a closing quote, found the end of the file")

    def _whole_rows(self) -> tuple[Int64, str]:
        """`row_ends` of the buffer's beginning, of as much of it as holds a row."""
        size = BLOCK_BYTES
        while size < len(self._buffer):
            ends, broken = row_ends(self._buffer[:size], self._separator)
            if len(ends) or broken:
                return ends, broken
            size *= 2
        return row_ends(self._buffer, self._separator)

    def _fill(self) -> bool:
        if self._ended:
            return False
        # Twice as much each time, so that a long row is not searched over and over.
        more = self._stream.read(max(self._read_bytes, len(self._buffer)))
        self._ended = not more
        if self._ended and self._buffer and not self._buffer.endswith(b"\n"):
            more = b"\n"
        self._buffer += more
        return bool(more)

    def _rows(self, ends: Int64, stop: int | None) -> Iterator[RowBlock]:
        starts, buffer = np.append(0, ends[:-1]), self._buffer
        codes = np.frombuffer(buffer, np.uint8)
        lengths = ends - starts
        blank = (lengths == 1) | ((lengths == 2) & (codes[starts] == _RETURN))
        numbers = self._number + np.cumsum(~blank) - 1
        most = len(ends) if stop is None else int(np.searchsorted(numbers, stop))
        if most:
            self._buffer = buffer[ends[most - 1] :]
        first = 0
        while first < most:
            last = int(np.searchsorted(ends, starts[first] + BLOCK_BYTES, side="right"))
            last = min(max(last, first + 1), most)
            part = slice(first, last)
            data = buffer[starts[first] : ends[last - 1]]
            kept, at = ~blank[part], starts[part] - starts[first]
            if not kept.all():
                pieces = zip(at[kept].tolist(), lengths[part][kept].tolist(), strict=True)
                data = b"".join(data[start : start + length] for start, length in pieces)
                at = np.cumsum(lengths[part][kept]) - lengths[part][kept]
            self._number = int(numbers[last - 1]) + 1
            if kept.any():
                yield RowBlock(data, at, numbers[part][kept], [])
            first = last

    def _first_line(self, error: str) -> Iterator[RowBlock]:
        """Sets the first line apart; one without end is read up to its end, but not held."""
        head, line = self._buffer[:_HEAD_BYTES], None
        while (cut := self._buffer.find(b"\n")) < 0:
            self._buffer, line = b"", head
            if not self._fill():
                break
        line = self._buffer[:cut] if line is None else line
        self._buffer = self._buffer[cut + 1 :]
        self._number += 1
        none = np.zeros(0, np.int64)
        yield RowBlock(b"", none, none, [BadLine(self._number - 1, line.rstrip(b"\r"), error)])


def row_ends(data: bytes, separator: str) -> tuple[Int64, str]:
    """Where whole rows end, int64, shape [rows], and why the row behind them is none, if so."""
    codes = np.frombuffer(data, np.uint8)
    breaks, quotes = np.flatnonzero(codes == _BREAK), np.flatnonzero(codes == _QUOTE)
    if not len(quotes):
        return breaks + 1, ""
    around = np.zeros(256, bool)
    around[[_QUOTE, _BREAK, ord(separator)]] = True
    opening, closing = quotes[::2], quotes[1::2]
    good = bool((around[codes[opening - 1]] | (opening == 0)).all())
    around[_RETURN] = True
    closing = closing[closing + 1 < len(codes)]
    if good and around[codes[closing + 1]].all():
        return breaks[np.searchsorted(quotes, breaks) % 2 == 0] + 1, ""
    return _row_ends_one_by_one(data, separator)


@cache
def _patterns(separator: str) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    mark = re.escape(separator)
    quoted, rest = r'"[^"]*+(?:""[^"]*+)*+"', rf"[^{mark}\n]*+"
    one_line = rf'"[^"\n]*+(?:""[^"\n]*+)*+"{rest}'
    field = rf'(?:{quoted}(?=[{mark}\r\n])|{one_line}|[^"{mark}\n]{rest}|)'
    row = rf"(?>{field}(?:{mark}{field})*+\r?\n)"
    torn = rf'(?>(?:{field}{mark})*+{quoted}[^"{mark}\r\n])'
    return re.compile(row.encode()), re.compile(torn.encode())


def _row_ends_one_by_one(data: bytes, separator: str) -> tuple[Int64, str]:
    """The same where quotes stand within fields."""
    row, torn = _patterns(separator)
    ends, at = [], 0
    while match := row.match(data, at):
        at = match.end()
        ends.append(at)
    error = "expected a separator or a line break behind a closing quote, found more of the field"
    return np.array(ends, np.int64), error if torn.match(data, at) else ""
