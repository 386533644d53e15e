"""Parquet: footers, row groups, and their rows read forward in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tango_beam import text_columns
from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError
from tango_beam.io.files import InputFile, open_input
from tango_beam.io.format import UNREADABLE, Asked, Format, Found, RawRows, Source, broken
from tango_beam.io.planned import Input, PlannedFile, Slice, cuts
from tango_beam.io.unify import conform, plain, unify

BATCH_ROWS = 2048
# A row counts for this many bytes or more: a dictionary stores texts that repeat in a few bytes,
# and a checkpoint of such a file would hold millions of rows.
ROW_BYTES = 64


class Parquet(Format):
    """Parquet files; a slice is a run of rows of one row group."""

    suffixes = (".parquet", ".pq")

    def inspect(self, files: list[InputFile], asked: Asked) -> Found:
        for file in files:
            if file.compression:
                raise RefusedError(
                    f"{file.path}: expected Parquet compressed inside, found {file.compression} "
                    "around it"
                )
        if asked.schema is not None:
            raise RefusedError("--schema: expected JSONL input, found Parquet, which has its own")
        with ThreadPoolExecutor(16) as pool:
            footers = list(pool.map(_footer, files))
        schemas: dict[str, pa.Schema] = {}
        planned: list[PlannedFile] = []
        unreadable: list[dict[str, Any]] = []
        for file, footer in zip(files, footers, strict=True):
            if isinstance(footer, Exception):
                unreadable.append(broken(file, footer, "Parquet", asked.allow_broken))
                continue
            schemas[file.path], groups = footer
            planned.append(PlannedFile(file, groups))
        if not planned:
            raise RefusedError(f"expected at least one readable Parquet file, found {unreadable}")
        # A file without rows often has types that mean nothing (pandas writes null).
        filled = [entry.file.path for entry in planned if sum(rows for rows, _ in entry.row_groups)]
        schema, notes = _schema({path: schemas[path] for path in filled} or schemas, asked)
        return Found(planned, schema, unreadable, notes)

    def limit(self, planned: PlannedFile, rows: int) -> tuple[PlannedFile, int]:
        groups: list[tuple[int, int]] = []
        left = rows
        for count, size in planned.row_groups:
            kept = min(count, left)
            groups.append((kept, size * kept // max(1, count)))
            left -= kept
            if not left:
                break
        return replace(planned, row_groups=tuple(groups)), rows - left

    def pieces(self, index: int, planned: PlannedFile, most: int) -> list[tuple[Slice, int]]:
        pieces = []
        for group, (rows, size) in enumerate(planned.row_groups):
            for start, stop in cuts(rows, max(1, -(-size // most))):
                weight = max(1, size * (stop - start) // max(1, rows))
                pieces.append((Slice(index, group, start, stop), weight))
        return pieces

    def estimate_rows(self, files: Sequence[PlannedFile]) -> float:
        return float(sum(rows for planned in files for rows, _ in planned.row_groups))

    def open(self, given: Input) -> ParquetSource:
        return ParquetSource(given)

    def take(
        self, planned: PlannedFile, row_group: int, rows: Int64, schema: pa.Schema
    ) -> pa.Table:
        with open_input(planned.file.path) as raw, _open(raw) as file:
            batches = file.read_row_group(row_group, columns=schema.names).to_batches()
            conformed = [conform(batch, schema) for batch in batches]
            return pa.Table.from_batches(conformed, schema).take(pa.array(rows))


def _open(raw: BinaryIO, **options: Any) -> pq.ParquetFile:
    # In nanoseconds, the years outside 1677 to 2262 would wrap around in the old form of time.
    return pq.ParquetFile(raw, pre_buffer=False, coerce_int96_timestamp_unit="us", **options)


def _footer(file: InputFile) -> tuple[pa.Schema, tuple[tuple[int, int], ...]] | Exception:
    try:
        with open_input(file.path) as raw, _open(raw) as parquet:
            metadata = parquet.metadata
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            sizes = tuple(
                (group.num_rows, max(group.total_byte_size, group.num_rows * ROW_BYTES))
                for group in groups
            )
            return parquet.schema_arrow.remove_metadata(), sizes or ((0, 0),)
    except UNREADABLE as error:
        return error


def _schema(schemas: Mapping[str, pa.Schema], asked: Asked) -> tuple[pa.Schema, tuple[str, ...]]:
    """The columns that are read, unified over all files."""
    path, one = next(iter(schemas.items()))
    if all(map(one.equals, schemas.values())):  # far quicker than to hash thousands of them
        schemas = {path: one}
    firsts: dict[pa.Schema, str] = {}
    for path, schema in schemas.items():
        firsts.setdefault(schema, path)
    names = [*dict.fromkeys(name for schema in firsts for name in schema.names)]
    read = {*asked.choose(names, path)}
    roots = {text_columns.root_of(names, text) for text in asked.texts} - {None}
    chosen = {
        schema: plain(pa.schema([field for field in schema if field.name in read]))
        for schema in firsts
    }
    for schema, path in firsts.items():
        asked.check(chosen[schema], path, schema)
        for root in roots.difference(schema.names):
            raise RefusedError(
                f"{path}: expected a column {root}, from which other files' texts are taken, found "
                f"{', '.join(schema.names)}"
            )
    columns = {path: chosen[schema] for path, schema in schemas.items()}
    return unify(columns, _values_fit, asked.option, asked.texts)


def _values_fit(path: str, name: str, kind: pa.DataType) -> bool:
    """Whether a column's least and greatest values, if the footer has them, fit a type."""
    with open_input(path) as raw, _open(raw) as file:
        metadata, own = file.metadata, file.schema_arrow.field(name).type
        at = [index for index, column in enumerate(file.schema) if column.path == name]
        if len(at) != 1 or file.schema.column(at[0]).physical_type != "INT64":
            return False
        for group in range(metadata.num_row_groups):
            column = metadata.row_group(group).column(at[0])
            found = column.statistics
            if found is None or not (found.has_min_max or found.null_count == column.num_values):
                return False
            ends = [found.min_raw, found.max_raw] if found.has_min_max else []
            try:
                pa.array(ends, pa.int64()).view(own).cast(kind)
            except pa.ArrowInvalid:
                return False
    return True


class ParquetSource(Source):
    """Reads row groups forward, one range of rows after the other, and keeps the last one open."""

    def __init__(self, given: Input) -> None:
        self._input = given
        self._file = -1
        self._group: _RowGroup | None = None

    def rows(self, piece: Slice) -> Iterator[RawRows]:
        rows_in_group, group_bytes = self._input.files[piece.file].row_groups[piece.row_group]
        assert piece.stop is not None
        for first, batch in self._open(piece).rows(piece.start, piece.stop):
            rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
            weight = group_bytes * batch.num_rows // max(1, rows_in_group)
            yield RawRows(conform(batch, self._input.schema), rows, weight)

    def _open(self, piece: Slice) -> _RowGroup:
        group = self._group
        if not group or self._file != piece.file or not group.reaches(piece.row_group, piece.start):
            self.close()
            path = self._input.files[piece.file].file.path
            group = _RowGroup(path, piece.row_group, self._input.schema.names)
            self._file, self._group = piece.file, group
        return group

    def missing(self, piece: Slice, rows: int) -> tuple[Int64, dict[str, Any]]:
        assert piece.stop is not None
        lost = np.arange(piece.start + rows, piece.stop, dtype=np.int64)
        return lost, {"row_group": piece.row_group, "rows_not_read": len(lost)}

    def close(self) -> None:
        if self._group:
            self._group.close()
        self._group = None


class _RowGroup:
    """One row group, read forward; the rest of a batch is kept for the next range of rows."""

    def __init__(self, path: str, row_group: int, columns: list[str]) -> None:
        self.row_group = row_group
        self._raw = open_input(path)
        # Unbuffered, a row group's columns would be read whole before the first row comes out.
        self._file = _open(self._raw, buffer_size=1 << 20)
        self._batches = self._file.iter_batches(
            BATCH_ROWS, [row_group], columns=columns, use_threads=False
        )
        self._held: pa.RecordBatch | None = None
        self._at = 0

    def reaches(self, row_group: int, start: int) -> bool:
        """Whether that row still lies ahead."""
        return self.row_group == row_group and self._at <= start

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        self._raw.close()

    def rows(self, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches of the rows from `start` up to `stop`, each with its first row's number.

        Raises:
          OSError: the row group ends, or does not decode, before `stop`.
        """
        while self._at < stop:
            batch = self._held if self._held is not None else next(self._batches, None)
            self._held = None
            if batch is None:
                raise OSError(f"expected {stop:,} rows in row group, found {self._at:,}")
            if not batch.num_rows:
                continue
            inside = min(batch.num_rows, stop - self._at)
            if inside < batch.num_rows:
                self._held = batch.slice(inside)
            skip = max(0, start - self._at)
            first, self._at = self._at + skip, self._at + inside
            if skip < inside:
                yield first, batch.slice(skip, inside - skip)
