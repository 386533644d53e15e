"""What must be known of an input format; each format is a class that says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError
from tango_beam.io.files import InputFile
from tango_beam.io.planned import Input, PlannedFile, Slice

# What pyarrow raises for a damaged file; the last for a column's name that is no UTF-8.
UNREADABLE = (OSError, pa.ArrowException, UnicodeDecodeError)


@dataclass(frozen=True)
class BadLine:
    """A line that is no record.

    Attributes:
      offset: of its first byte in the file.
      raw: its bytes, without the newline.
      error: what was expected and what was found.
    """

    offset: int
    raw: bytes
    error: str


@dataclass(frozen=True)
class RawRows:
    """Rows of one file as they were read, before those without a text are set apart.

    Attributes:
      batch: the columns that pass through (`Input.schema`).
      rows: row numbers in the row group, or byte offsets of lines, int64, shape [rows].
      weight: bytes of input taken in, for progress.
      bad: lines that are no rows.
      raw: gives the raw records of some rows of `batch`; None where the columns are all there is.
    """

    batch: pa.RecordBatch
    rows: Int64
    weight: int
    bad: Sequence[BadLine] = ()
    raw: Callable[[Int64], pa.Array] | None = None


class Source(Protocol):
    """Reads slices of files of one format, and keeps a file open from one slice to the next."""

    def rows(self, piece: Slice) -> Iterator[RawRows]:
        """Rows of a slice.

        Raises:
          OSError, pa.ArrowException, UnicodeDecodeError: the file breaks.
        """

    def stream(self, piece: Slice, index: int) -> Iterator[RawRows]:
        """Rows of the `index`-th checkpoint of a compressed file."""
        return iter(())  # a format whose files are never compressed

    def stream_ended(self, piece: Slice) -> bool:
        """Whether a compressed file has nothing left behind what was read of it."""
        return True

    def missing(self, piece: Slice, rows: int) -> tuple[Int64, dict[str, Any]]:
        """What is lost when a file breaks after `rows` rows of a slice.

        Returns:
          The numbers of the lost rows (none where they are not known), and what the manifest says
          of the file.
        """

    def close(self) -> None:
        """Closes what is open."""


class Format(Protocol):
    """One input format."""

    # How the names of such files end, before .gz or .zst.
    suffixes: tuple[str, ...]

    def inspect(
        self, files: list[InputFile], schema: pa.Schema | None, allow_broken: bool | None
    ) -> tuple[list[PlannedFile], pa.Schema, list[dict[str, Any]]]:
        """Looks at every file before any work.

        Args:
          files: of this format.
          schema: of the rows, where the user states it.
          allow_broken: lists a file that cannot be opened instead of refusing it; None where the
            command has no such option.

        Returns:
          The files that can be read, the schema of their rows, and what the manifest says of the
          others.

        Raises:
          RefusedError: says which file, what was expected and what was found.
        """

    def limit(self, planned: PlannedFile, rows: int) -> tuple[PlannedFile, int]:
        """A file cut to its first `rows` rows, and how many it then has."""

    def pieces(self, index: int, planned: PlannedFile, most: int) -> list[tuple[Slice, int]]:
        """Slices of the `index`-th file, each of about `most` bytes or fewer, and their bytes."""

    def estimate_rows(self, files: Sequence[PlannedFile]) -> float:
        """About how many rows there are."""

    def open(self, given: Input) -> Source:
        """A reader of the input's files."""

    def take(
        self, planned: PlannedFile, row_group: int, rows: Int64, schema: pa.Schema
    ) -> pa.Table:
        """Some rows of a row group, by their numbers; columns and types as in `schema`."""
        raise ValueError("expected a format with row groups")


def broken(file: InputFile, error: Exception, kind: str, allowed: bool | None) -> dict[str, Any]:
    """What the manifest says of a file that cannot be opened.

    Raises:
      RefusedError: such files are not allowed.
    """
    if allowed:
        return {"path": file.path, "error": str(error), "bytes_not_read": file.size}
    hint = "; --allow_broken_files lists it in the manifest and goes on without it"
    raise RefusedError(
        f"{file.path}: expected a readable {kind} file, found {one_line(error)}"
        f"{'' if allowed is None else hint}"
    ) from error


def one_line(error: Exception) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split())
