"""Input files as they will be read: what was learned of them at launch, and slices of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import pyarrow as pa

from tango_beam import record_columns, text_columns
from tango_beam.guarantees.certificate import Corpus, CorpusFile
from tango_beam.io.files import InputFile
from tango_beam.options import CHECKPOINT_BYTES

# In positions of rows in no row group: `row` is a byte, or the row's number in the file.
BYTES, ROWS = -1, -2


@dataclass(frozen=True)
class PlannedFile:
    """An input file with what was learned of it at launch.

    Attributes:
      file: the file.
      row_groups: rows and uncompressed bytes of each (Parquet), at least `parquet.ROW_BYTES` a row.
      stop: how many uncompressed bytes (JSONL) or rows (CSV) are read; None for all.
      folders: columns whose value the names of the file's folders say (`lang=en`), with the value.
      row_bytes: uncompressed, of an average row at the file's beginning (CSV).
      separator: between fields (CSV).
    """

    file: InputFile
    row_groups: tuple[tuple[int, int], ...] = ()
    stop: int | None = None
    folders: tuple[tuple[str, int | str | None], ...] = ()
    row_bytes: int | None = None
    separator: str | None = None


@dataclass(frozen=True)
class Slice:
    """A run of one file's rows.

    Attributes:
      file: index into the run's files.
      row_group: index, or `BYTES` or `ROWS` where there is none.
      start: first row of the row group; or byte: lines that begin there or later.
      stop: row or byte before which the slice ends; None for the end of a stream.
    """

    file: int
    row_group: int
    start: int
    stop: int | None


@dataclass(frozen=True)
class Item:
    """Slices that are read together.

    Attributes:
      slices: in order.
      weight: bytes of input, about.
      stream: a file that is read from its start on, in several checkpoints.
    """

    slices: tuple[Slice, ...]
    weight: int
    stream: bool = False


@dataclass(frozen=True)
class LineColumns:
    """How a line of JSON becomes columns.

    Attributes:
      typed: columns with a type of their own.
      as_json: keys whose values pass through as JSON text, in a string column.
      extra: the column for keys and values that have no other place; None where there is none.
      unknown: what becomes of keys that no column bears: `keep`, `drop` or `dead`.
      misfits: the same of values that their column cannot hold.
      exact: a struct must have each of its fields; not where the user states the schema.
      own: the line passes through as it is, and only its texts are read.
      kept: keys that stay in such a line; None for all.
      reserved: keys that such a line must not have, since the output adds them to it.
      replaced: keys that such a line loses, since its file's folders say them.
    """

    typed: pa.Schema
    as_json: tuple[str, ...] = ()
    extra: str | None = None
    unknown: str = "keep"
    misfits: str = "keep"
    exact: bool = True
    own: bool = False
    kept: tuple[str, ...] | None = None
    reserved: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Input:
    """The input as it will be read.

    Attributes:
      files: with row groups, cut to the limit.
      schema: the columns that pass through.
      text_columns: one, or two for pairs, or dotted paths; a row without a text in each is dead.
      lines: how lines of JSON become columns; None where the input has none.
      notes: what was unified, passed over or passes through in another form, for the user.
      checkpoint_bytes: uncompressed input in a checkpoint.
      allow_broken_files: a file that breaks midway is listed instead of raising; None where the
        command has no such option.
      broken: files that could not be opened, with the error; only where that is allowed.
      outside: of the schema, the columns that no file holds: the names of folders say them.
    """

    files: tuple[PlannedFile, ...]
    schema: pa.Schema
    text_columns: tuple[str, ...] = ()
    lines: LineColumns | None = None
    notes: tuple[str, ...] = ()
    checkpoint_bytes: int = CHECKPOINT_BYTES
    allow_broken_files: bool | None = None
    broken: tuple[dict[str, Any], ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def inside(self) -> pa.Schema:
        """The columns that are read from the files."""
        return pa.schema([field for field in self.schema if field.name not in self.outside])

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns in which batches hold the texts: the input's own, or hidden ones."""
        return tuple(
            name if self._is_column(name) else hidden
            for name, hidden in zip(self.text_columns, record_columns.TEXTS, strict=False)
        )

    def _is_column(self, name: str) -> bool:
        names = self.schema.names
        return name in names and text_columns.is_string(self.schema.field(name).type)


def cuts(total: int, count: int) -> list[tuple[int, int]]:
    """Cuts 0 to `total` into `count` runs of about equal length, and leaves out empty ones."""
    edges = [total * part // count for part in range(count + 1)]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def describe_corpus(
    files: Sequence[PlannedFile], text_columns: Sequence[str], rows: int | None = None
) -> Corpus:
    """Files, sizes, rows and columns; rows are those of the footers where there are any."""
    counted = [sum(rows for rows, _ in planned.row_groups) for planned in files]
    described = tuple(
        CorpusFile(planned.file.path, planned.file.size, count or None)
        for planned, count in zip(files, counted, strict=True)
    )
    cut = any(planned.stop is not None for planned in files)
    return Corpus(described, cut, sum(counted) or rows, tuple(text_columns))


def to_json(planned: PlannedFile) -> dict[str, Any]:
    """What `_run.json` says of a file; what does not apply to it is left out."""
    entry = {**asdict(planned.file), **asdict(planned)}
    del entry["file"]
    return {
        name: value
        for name, value in entry.items()
        if value is not None and value is not False and value != ()
    }


def from_json(entry: dict[str, Any]) -> PlannedFile:
    """Reads back what `to_json` wrote."""
    groups = tuple((rows, size) for rows, size in entry.get("row_groups", ()))
    folders = tuple((name, value) for name, value in entry.get("folders", ()))
    file, planned = (
        {name.name: entry[name.name] for name in fields(kind) if name.name in entry}
        for kind in (InputFile, PlannedFile)
    )
    lists = {"row_groups": groups, "folders": folders}
    return PlannedFile(**{**planned, **lists, "file": InputFile(**file)})
