"""Input files, as they are read: plain or compressed, lines or an array, on any fsspec URL."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from tango_beam.io import compression
from tango_beam.io.json_array import ArrayLines

PARQUET, JSONL, CSV = "parquet", "jsonl", "csv"
_PROBE_BYTES = 1 << 16


@dataclass(frozen=True)
class InputFile:
    """One file of the input.

    Attributes:
      path: as fsspec opens it, with its protocol unless local.
      size: bytes as stored; 0 where the server does not say.
      modified: what the file system says of its time or version; empty where it says nothing.
      format: a name in `formats.FORMATS`.
      compression: a name in `compression.SUFFIXES`, or None.
      array: one JSON array holds the rows.
      forward: the server gives no part of it, only the whole from its beginning.
    """

    path: str
    size: int
    modified: str
    format: str
    compression: str | None = None
    array: bool = False
    forward: bool = False

    @property
    def from_start(self) -> bool:
        """Whether nobody can begin to read in its middle."""
        return self.compression is not None or self.array or self.forward


def open_input(path: str, forward: bool = False) -> BinaryIO:
    """Opens a file for reading bytes, at its beginning; whatever goes wrong is an OSError.

    Args:
      path: local, or a URL.
      forward: it can only be read from its beginning on.
    """
    if path.startswith("/"):  # as it stands: fsspec takes :: for two file systems
        return Path(path).open("rb")
    return io.BufferedReader(_Remote(path, {"block_size": 0} if forward else {}))


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # file systems raise what their libraries raise
        raise OSError(f"{type(error).__name__}: {error}") from error


class _Remote(io.RawIOBase):
    """A file behind a URL."""

    def __init__(self, path: str, options: dict[str, Any]) -> None:
        with _as_os_errors():
            # An archive closes with its file system, which lives as long as this does.
            self._opened = fsspec.open(path, "rb", **options)
            self._file = self._opened.open()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _as_os_errors():
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _as_os_errors():
            self._file.seek(offset, whence)
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class Bytes:
    """A file's uncompressed bytes, read forward; those of a JSON array as lines.

    Reading past the end of a truncated file raises OSError.

    Args:
      file: the file.
      start: where to begin; 0 for a file that is read from its start.
    """

    def __init__(self, file: InputFile, start: int = 0) -> None:
        self._file = file
        self._raw = open_input(file.path, file.forward)
        self._stream: Any = self._raw
        if file.compression:
            self._stream = compression.decompress(self._raw, file.compression)
        elif start:
            self._raw.seek(start)
        self._lines = ArrayLines(self._stream) if file.array else self._stream

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; none at the end."""
        with _as_os_errors():  # of lzma and zlib, too
            data = self._lines.read(count)
        if self._file.compression and not data and not self._raw.tell():
            raise OSError(f"expected {self._file.compression} data, found no byte")
        return data

    def stored(self) -> int:
        """Bytes of the file, as stored, that were taken in so far."""
        return self._raw.tell()

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()
        self._raw.close()


def uncompressed_bytes(file: InputFile) -> float:
    """How many there are; of a compressed file, a guess from its beginning."""
    if not file.compression:
        return file.size
    source = Bytes(file)
    try:
        read = len(source.read(_PROBE_BYTES))
        return file.size * read / max(1, source.stored())
    except OSError:
        return file.size  # the reader meets the break too, and deals with it as it is told to
    finally:
        source.close()
