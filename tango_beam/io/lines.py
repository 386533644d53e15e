"""A JSONL stream cut into blocks of whole lines, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# A line longer than this becomes a dead letter without ever being held whole.
MAX_LINE_BYTES = 64 << 20
BLOCK_BYTES = 1 << 20
# A truncated .gz or .zst raises in the read that reaches its end, and what this read had decoded is
# lost; small reads lose little.
COMPRESSED_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class Block:
    """Whole lines.

    Attributes:
      data: the lines, each with its newline (the file's last may lack it).
      offset: where the first begins in the uncompressed stream.
      too_long: `data` is only the head of one line of more than `MAX_LINE_BYTES` bytes.
      line_bytes: how long that line is.
    """

    data: bytes
    offset: int
    too_long: bool = False
    line_bytes: int = 0


class LineStream:
    """Reads a stream forward, range after range; a range holds the lines that begin in it.

    Args:
      stream: has `read(n)` and `close()`.
      offset: where in the file the stream stands.
      read_bytes: bytes asked for at once.
    """

    def __init__(self, stream: Any, offset: int, read_bytes: int = BLOCK_BYTES) -> None:
        self._stream, self._read_bytes = stream, read_bytes
        self._buffer, self._offset = b"", offset
        self._ended = False

    @property
    def offset(self) -> int:
        """Where the next unread line begins."""
        return self._offset

    @property
    def at_end(self) -> bool:
        """Whether nothing is left; may read ahead to find out."""
        return not self._buffer and not self._fill()

    @property
    def stored(self) -> int:
        """Bytes of the stored file taken in, where the stream beneath can tell."""
        return self._stream.stored() if hasattr(self._stream, "stored") else self._offset

    def close(self) -> None:
        """Closes the stream beneath."""
        self._stream.close()

    def _fill(self) -> bool:
        """Reads more; whether there was more.

        What holds no whole line yet grows by a quarter at once: a line of 64 MiB that was joined
        anew after each read of 64 KiB took 20 seconds.
        """
        parts, size = [self._buffer], len(self._buffer)
        enough = min(size + size // 4, MAX_LINE_BYTES)
        try:
            while not self._ended and (len(parts) == 1 or size < enough):
                parts.append(self._stream.read(self._read_bytes))
                size += len(parts[-1])
                self._ended = not parts[-1]
        finally:
            before, self._buffer = len(self._buffer), b"".join(parts)
        return size > before

    def skip_line(self) -> None:
        """Skips the rest of the line at which the stream stands."""
        while (cut := self._buffer.find(b"\n")) < 0:
            self._offset += len(self._buffer)
            self._buffer = b""
            if not self._fill():
                return
        self._advance(cut + 1)

    def skip_to(self, offset: int) -> None:
        """Reads up to the first line that begins at an offset or behind it."""
        for _ in self.blocks(offset):
            pass

    def blocks(self, stop: int | None) -> Iterator[Block]:
        """Blocks of the lines that begin before `stop`; None for all that are left."""
        while stop is None or self._offset < stop:
            limit = None if stop is None else stop - self._offset
            cut = self._whole_lines(limit)
            if cut:
                yield Block(self._buffer[:cut], self._offset)
                self._advance(cut)
            elif len(self._buffer) > MAX_LINE_BYTES:
                # The range ends within the long line; whole lines may stand before it.
                before = self._buffer.rfind(b"\n") + 1
                if before:
                    yield Block(self._buffer[:before], self._offset)
                    self._advance(before)
                else:
                    yield self._too_long()
            elif not self._fill():
                if self._buffer:
                    yield Block(self._buffer, self._offset)
                    self._advance(len(self._buffer))
                return

    def _whole_lines(self, limit: int | None) -> int:
        """How many bytes of the buffer are whole lines that begin before `limit`."""
        if limit is None or limit > len(self._buffer):
            return self._buffer.rfind(b"\n") + 1
        # The last line of the range is the one that holds the byte before the limit.
        return self._buffer.find(b"\n", limit - 1) + 1

    def _too_long(self) -> Block:
        start, head = self._offset, self._buffer[:4096]
        self.skip_line()
        return Block(head, start, too_long=True, line_bytes=self._offset - start)

    def _advance(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        self._offset += count
