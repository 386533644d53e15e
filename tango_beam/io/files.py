"""Input files: found, told apart by format and compression, opened, on any fsspec URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa

from tango_beam.errors import RefusedError

PARQUET, JSONL = "parquet", "jsonl"
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class InputFile:
    """One file of the input.

    Attributes:
      path: as fsspec opens it, with its protocol unless local.
      size: bytes as stored.
      modified: what the file system says of its time or version; empty where it says nothing.
      format: a name in `formats.FORMATS`.
      compression: `gzip`, `zstd` or None.
    """

    path: str
    size: int
    modified: str
    format: str
    compression: str | None = None


def expand(
    patterns: Sequence[str],
    suffixes: Mapping[str, str],
    input_format: str = "auto",
    option: str = "--input",
) -> list[InputFile]:
    """Files that paths, globs and folders name, sorted by path, each once.

    In a folder, files and folders whose names begin with `_` or `.` are passed over.

    Args:
      patterns: paths, globs and folders, on any fsspec URL.
      suffixes: how files' names end, each with the format that it tells.
      input_format: the format of all files; `auto` goes by their names.
      option: the option that names the files, for messages.

    Raises:
      RefusedError: a pattern that nothing matches, a file whose name does not tell its format, or
        files of two formats.
    """
    files: dict[str, InputFile] = {}
    for pattern in patterns:
        matched = _match(pattern, option)
        if not matched:
            raise RefusedError(f"{option} {pattern}: expected at least one file, found no match")
        for path, info in matched:
            files.setdefault(path, _describe(path, info, suffixes, input_format))
    ordered = [files[path] for path in sorted(files)]
    formats = {file.format: file.path for file in ordered}
    if len(formats) > 1:
        raise RefusedError(f"expected input files of one format, found {formats}")
    return ordered


def _match(pattern: str, option: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        system, path = fsspec.core.url_to_fs(pattern)
        if system.isfile(path):
            details = {path: system.info(path)}
        elif system.isdir(path):
            root = path.rstrip("/")
            every = system.find(root, detail=True)
            details = {name: info for name, info in every.items() if not _passed_over(name, root)}
        else:
            matches = system.glob(path, detail=True)
            # A listing calls a symbolic link "other", also one to a file.
            details = {name: system.info(name) for name in matches if system.isfile(name)}
    except (OSError, ValueError, ImportError) as error:
        raise RefusedError(
            f"{option} {pattern}: expected a readable path, found {error}"
        ) from error
    return [(_url(system, name), info) for name, info in details.items()]


def _passed_over(name: str, root: str) -> bool:
    return any(part.startswith(("_", ".")) for part in name[len(root) :].strip("/").split("/"))


def _url(system: Any, path: str) -> str:
    protocols = [system.protocol] if isinstance(system.protocol, str) else system.protocol
    return path if "file" in protocols else system.unstrip_protocol(path)


def _describe(
    path: str, info: dict[str, Any], suffixes: Mapping[str, str], input_format: str
) -> InputFile:
    stem, compression = path, None
    for suffix, name in _COMPRESSIONS.items():
        if path.endswith(suffix):
            stem, compression = path.removesuffix(suffix), name
    kind = next((kind for end, kind in suffixes.items() if stem.lower().endswith(end)), None)
    if input_format != "auto":
        kind = input_format
    if kind is None:
        raise RefusedError(
            f"{path}: expected a name that ends in {', '.join(suffixes)} (with .gz or .zst behind "
            "JSONL), found none of them; say which with --input_format"
        )
    stamps = (info.get(key) for key in ("mtime", "ETag", "etag", "LastModified", "last_modified"))
    modified = next((str(stamp) for stamp in stamps if stamp is not None), "")
    return InputFile(path, int(info["size"]), modified, kind, compression)


def open_input(path: str) -> BinaryIO:
    """Opens a file for reading bytes, at its beginning."""
    return fsspec.open(path, "rb").open()


class Bytes:
    """A JSONL file's uncompressed bytes, read forward.

    Reading past the end of a truncated .gz or .zst raises OSError.

    Args:
      file: plain, .gz or .zst.
      start: where to begin; 0 for a compressed file.
    """

    def __init__(self, file: InputFile, start: int = 0) -> None:
        self._raw = open_input(file.path)
        self._stream: Any = self._raw
        if file.compression:
            self._stream = pa.CompressedInputStream(
                pa.PythonFile(self._raw, mode="r"), file.compression
            )
        else:
            self._raw.seek(start)

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; none at the end."""
        return self._stream.read(count)

    def stored(self) -> int:
        """Bytes of the file, as stored, that were taken in so far."""
        return self._raw.tell()

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()
        self._raw.close()
