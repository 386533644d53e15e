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
        return lzma.LZMAFile(raw)
    return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)
