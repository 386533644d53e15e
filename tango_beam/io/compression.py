"""Compressed bytes: told by their first ones, and read whole however many streams follow."""

from __future__ import annotations

import lzma
from typing import Any, BinaryIO

import pyarrow as pa

SUFFIXES = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bz2",
    ".xz": "xz",
    ".lz4": "lz4",
}
_READ_BYTES = 1 << 16
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
}
# Behind BZh and a digit: a block, or the end of an empty stream.
_BZ2_NEXT = (b"1AY&SY", b"\x17rE8P\x90")


def told_by(head: bytes) -> str | None:
    """The compression that a file's first bytes tell, None where they tell none."""
    if head.startswith(b"BZh") and head[4:10] in _BZ2_NEXT:
        return "bz2"
    if head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5:
        return "zstd"  # a frame to skip, which tools that compress in parallel write first
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def decompress(raw: BinaryIO, compression: str) -> Any:
    """A stream of the uncompressed bytes; reading past the end of a truncated file raises."""
    if compression == "xz":
        return _Xz(raw)
    return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)


class _Xz:
    """Streams of xz behind each other; `lzma.LZMAFile` takes a damaged one for the end."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._decoder = raw, lzma.LZMADecompressor()

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; none at the end."""
        while True:
            given = b""
            if self._decoder.eof:
                given = self._between_streams()
                if not given:
                    return b""
                self._decoder = lzma.LZMADecompressor()
            elif self._decoder.needs_input and not (given := self._raw.read(_READ_BYTES)):
                raise EOFError("expected more of the stream, found the end of the file")
            if data := self._decoder.decompress(given, count):
                return data

    def _between_streams(self) -> bytes:
        """The first bytes of the next stream; zeros may stand ahead of it."""
        given = self._decoder.unused_data
        while not (rest := given.lstrip(b"\0")) and (given := self._raw.read(_READ_BYTES)):
            pass
        return rest

    def close(self) -> None:
        """Leaves the file beneath to its owner."""
