"""What must be known of an input format; each format is a class that says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from tango_beam import text_columns
from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError
from tango_beam.io.files import InputFile
from tango_beam.io.planned import BYTES, Input, LineColumns, PlannedFile, Slice
from tango_beam.record_columns import OutputColumns

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


TEXT_OPTIONS = ("--text_column", "--text_pair_column")


@dataclass(frozen=True)
class Asked:
    """What a command asks of its input.

    Attributes:
      texts: text columns, or dotted paths (see `text_columns`); one, or two for pairs.
      columns: that pass through; None for all. Others are not looked at.
      schema: of the rows, where the user states it.
      allow_broken: lists a file that cannot be opened instead of refusing it; None where the
        command has no such option.
      unknown_keys: of JSON objects: `keep`, `drop` or `dead`.
      own_lines: answers are added to the lines of JSON themselves, so nothing but texts is parsed.
      output: the columns that the output adds; None where there is no output.
      option: that names the columns, for messages.
      outside: columns that need not be in the files: the names of folders say them.
    """

    texts: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    schema: pa.Schema | None = None
    allow_broken: bool | None = None
    unknown_keys: str = "keep"
    own_lines: bool = False
    output: OutputColumns | None = None
    option: str = "--columns"
    outside: tuple[str, ...] = ()

    def choose(self, names: Sequence[str], path: str) -> list[str]:
        """Of the columns that there are, those that are read: asked for, or with a text in them.

        Args:
          names: of the columns.
          path: a file with them, for the message.

        Raises:
          RefusedError: one that is asked for is not there.
        """
        if self.columns is None:
            return [*names]
        for name in self.columns:
            if name not in (*names, *self.outside):
                shown = ", ".join(dict.fromkeys([*names, *self.outside]))
                raise RefusedError(f"{self.option} {name}: no such column in {path}; found {shown}")
        roots = {text_columns.root_of(names, text) for text in self.texts}
        return [name for name in names if name in roots or name in self.columns]

    def check(self, schema: pa.Schema, path: str, every: pa.Schema | None = None) -> None:
        """Checks the columns that are read.

        Args:
          schema: of these columns.
          path: the file in which they were found.
          every: column of the file, for messages.

        Raises:
          RefusedError: a name stands twice, or there is no column of texts where one is named.
        """
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if twice:
            raise RefusedError(f"{path}: expected distinct column names, found {twice} twice")
        shown = ", ".join(f"{field.name} ({field.type})" for field in every or schema) or "none"
        for option, name in zip(TEXT_OPTIONS, self.texts, strict=False):
            kind = text_columns.type_of(schema, name)
            if kind is None:
                why = text_columns.explain(schema, name)
                raise RefusedError(f"{option} {name}: {why} in {path}; found {shown}")
            if not text_columns.is_text(kind):
                raise RefusedError(
                    f"{option} {name}: expected a column of texts in {path}, found {kind}; "
                    f"the columns are {shown}"
                )


@dataclass(frozen=True)
class Found:
    """What a format found in its files.

    Attributes:
      files: that can be read.
      schema: of the columns that pass through, nullable, views as plain types.
      broken: what the manifest says of the others.
      notes: what was unified, or passes through in another form: a line each, for the user.
      lines: how lines of JSON become columns; None for other formats.
    """

    files: list[PlannedFile]
    schema: pa.Schema
    broken: list[dict[str, Any]]
    notes: tuple[str, ...] = ()
    lines: LineColumns | None = None


class Source(Protocol):
    """Reads slices of files of one format, and keeps a file open from one slice to the next."""

    def rows(self, piece: Slice) -> Iterator[RawRows]:
        """Rows of a slice.

        Raises:
          OSError, pa.ArrowException, UnicodeDecodeError: the file breaks.
        """
        return iter(())  # a format whose files are always read from their start

    def stream(self, piece: Slice, index: int) -> Iterator[RawRows]:
        """Rows of the `index`-th checkpoint of a file that is read from its start."""
        return iter(())  # a format whose files never are

    def stream_ended(self, piece: Slice) -> bool:
        """Whether such a file has nothing left behind what was read of it."""
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

    # How the names of such files end, before .gz and its like.
    suffixes: tuple[str, ...]
    # What stands in positions of a stream's rows for a row group.
    stream_group: int = BYTES
    # Whether columns have types of their own; else they take those that other formats have.
    typed: bool = True

    def inspect(self, files: list[InputFile], asked: Asked) -> Found:
        """Looks at every file before any work.

        Args:
          files: of this format.
          asked: which columns are read, and how.

        Raises:
          RefusedError: says which file, what was expected and what was found.
        """

    def is_stream(self, file: InputFile) -> bool:
        """Whether a file is read from its beginning on, since nobody can begin in its middle."""
        return file.from_start

    def limit(self, planned: PlannedFile, rows: int) -> tuple[PlannedFile, int]:
        """A file cut to its first `rows` rows, and how many it then has."""

    def pieces(self, index: int, planned: PlannedFile, most: int) -> list[tuple[Slice, int]]:
        """Slices of the `index`-th file, each of about `most` bytes or fewer, and their bytes."""
        return []  # a format whose files are always read from their start

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
