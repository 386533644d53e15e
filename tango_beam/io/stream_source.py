"""Files that are read from their beginning on: one stream, checkpoint after checkpoint."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from tango_beam.io.format import RawRows, Source
from tango_beam.io.planned import Input, Slice

# Has `blocks(stop)`, `skip_to(place)`, `at_end`, `stored` and `close()`.
Stream = TypeVar("Stream", bound=Any)


class StreamSource(Source, Generic[Stream]):
    """A source that keeps a file's stream open from one checkpoint to the next.

    Checkpoints are a fixed grid of places, bytes or rows, so that each attempt finds them again.
    """

    def __init__(self, given: Input) -> None:
        self._input = given
        self._stream: Stream | None = None
        # The open stream's file, and the one place at which a checkpoint may begin to use it.
        self._file, self._next = -1, -1

    @abstractmethod
    def _open(self, file: int) -> Stream:
        """Opens a file's stream at its first row."""

    @abstractmethod
    def _grid(self, file: int) -> int:
        """Places in a checkpoint."""

    @abstractmethod
    def _place(self, stream: Stream) -> int:
        """Where a stream stands."""

    @abstractmethod
    def _read(self, block: Any, file: int, weight: int) -> RawRows:
        """Rows of a block."""

    def stream(self, piece: Slice, index: int) -> Iterator[RawRows]:
        start, stop = (number * self._grid(piece.file) for number in (index, index + 1))
        stop = stop if piece.stop is None else min(stop, piece.stop)
        stream = self._continue(piece.file, start)
        # While the checkpoint is not read whole, no other may use the stream, nor this one again.
        self._next = -1
        taken_in = stream.stored
        for block in stream.blocks(stop):
            # Nobody knows the uncompressed length, so progress counts the bytes as stored.
            weight, taken_in = stream.stored - taken_in, stream.stored
            yield self._read(block, piece.file, weight)
        self._next = stop

    def _continue(self, file: int, start: int) -> Stream:
        if self._stream is None or (self._file, self._next) != (file, start):
            self.close()
            self._stream, self._file = self._open(file), file
            self._stream.skip_to(start)
        return self._stream

    def stream_ended(self, piece: Slice) -> bool:
        stream = self._stream
        if stream is None or self._file != piece.file:
            return True  # it broke, and is not read any further
        try:
            past = piece.stop is not None and self._place(stream) >= piece.stop
            ended = past or stream.at_end
        except OSError:
            return False  # the next checkpoint meets the break and deals with it
        if ended:
            self.close()
        return ended

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream, self._file, self._next = None, -1, -1
