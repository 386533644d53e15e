"""What a file's first bytes say of it, for files whose names do not, or do not say the truth."""

from __future__ import annotations

import io
import lzma
from dataclasses import dataclass

import fsspec

from tango_beam.io import compression, json_array
from tango_beam.io.files import Bytes, InputFile, open_input

HEAD_BYTES = 1 << 16
_LOOK_BYTES = 1 << 12
_PARQUET = b"PAR1"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"version https://git-lfs": "a pointer of Git LFS; git lfs pull gets the file itself",
    b"\xff\xfe": "UTF-16; iconv -f UTF-16 -t UTF-8 makes it UTF-8",
    b"\xfe\xff": "UTF-16; iconv -f UTF-16 -t UTF-8 makes it UTF-8",
}


@dataclass(frozen=True)
class Look:
    """What the first bytes say.

    Attributes:
      compression: as `InputFile` has it.
      parquet: it is a Parquet file.
      foreign: what else it is, with the way out; empty where it may be rows.
      shape: of JSON, as `json_array.shape` has it.
      head: the first uncompressed bytes.
      forward: as `InputFile` has it.
    """

    compression: str | None = None
    parquet: bool = False
    foreign: str = ""
    shape: str = json_array.LINES
    head: bytes = b""
    forward: bool = False


def look(path: str, size: int | None, named: str | None) -> Look:
    """Reads the first bytes of a file.

    Args:
      path: as fsspec opens it.
      size: bytes as stored; None where the server does not say.
      named: the compression that its name tells.

    Raises:
      Exception: whatever the file system raises.
    """
    if size == 0:
        return Look(named)
    forward = size is None or not _gives_parts(path, size)
    raw = _head(path, forward)
    packed = compression.told_by(raw)
    head = _plain(InputFile(path, size or 0, "", "", packed, forward=forward), raw)
    foreign = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), "")
    if not foreign and _is_wide(head):
        foreign = _FOREIGN[b"\xff\xfe"]
    parquet = head.startswith(_PARQUET)
    return Look(packed, parquet, foreign, json_array.shape(head), head, forward)


def _gives_parts(path: str, size: int) -> bool:
    """Whether the server of a file gives parts of it; only of http we cannot take it for sure."""
    if not path.startswith(("http://", "https://")):
        return True
    try:
        with fsspec.open(path, "rb", block_size=1, cache_type="none").open() as file:
            file.seek(size - 1)
            return len(file.read(1)) == 1
    except ValueError:
        return False


def _head(path: str, forward: bool) -> bytes:
    if "://" in path and not forward and "::" not in path:
        system, inner = fsspec.core.url_to_fs(path)
        return system.cat_file(inner, start=0, end=HEAD_BYTES)  # opening would read far ahead
    with open_input(path, forward) as file:
        head = b""
        while len(head) < HEAD_BYTES and (more := file.read(HEAD_BYTES - len(head))):
            head += more
        return head


def _plain(file: InputFile, raw: bytes) -> bytes:
    """The first uncompressed bytes; none where they do not decompress, which the reader tells."""
    if not file.compression:
        return raw
    for source in (compression.decompress(io.BytesIO(raw), file.compression), None):
        # A block of bzip2 may be longer than what was read.
        stream = source or Bytes(file)
        try:
            return stream.read(_LOOK_BYTES)
        except (OSError, EOFError, lzma.LZMAError):
            continue
        finally:
            stream.close()
    return b""


def _is_wide(head: bytes) -> bool:
    """Whether every other byte is zero, as in English in UTF-16 without a mark."""
    sample = head[:64]
    return len(sample) > 3 and (not any(sample[1::2]) or not any(sample[::2]))
