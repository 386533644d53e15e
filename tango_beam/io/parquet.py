"""Parquet: footers, row groups, and their rows read forward in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError
from tango_beam.io.files import InputFile, open_input
from tango_beam.io.format import UNREADABLE, Format, RawRows, Source, broken
from tango_beam.io.planned import Input, PlannedFile, Slice, cuts

BATCH_ROWS = 2048
# A row counts for this many bytes or more: a dictionary stores texts that repeat in a few bytes,
# and a checkpoint of such a file would hold millions of rows.
ROW_BYTES = 64


class Parquet(Format):
    """Parquet files; a slice is a run of rows of one row group."""

    suffixes = (".parquet", ".pq")

    def inspect(
        self, files: list[InputFile], schema: pa.Schema | None, allow_broken: bool | None
    ) -> tuple[list[PlannedFile], pa.Schema, list[dict[str, Any]]]:
        for file in files:
            if file.compression:
                raise RefusedError(
                    f"{file.path}: expected Parquet compressed inside, found {file.compression} "
                    "around it"
                )
        if schema is not None:
            raise RefusedError("--schema: expected JSONL input, found Parquet, which has its own")
        with ThreadPoolExecutor(16) as pool:
            footers = list(pool.map(_footer, files))
        planned: list[PlannedFile] = []
        unreadable: list[dict[str, Any]] = []
        for file, footer in zip(files, footers, strict=True):
            if isinstance(footer, Exception):
                unreadable.append(broken(file, footer, "Parquet", allow_broken))
                continue
            other, groups = footer
            schema = schema or other
            _refuse_difference(file.path, planned[0].file.path if planned else "", schema, other)
            planned.append(PlannedFile(file, groups))
        if schema is None:
            raise RefusedError(f"expected at least one readable Parquet file, found {unreadable}")
        return planned, schema, unreadable

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
        with open_input(planned.file.path) as raw, pq.ParquetFile(raw, pre_buffer=False) as file:
            table = file.read_row_group(row_group, columns=schema.names).select(schema.names)
            return table.cast(schema).take(pa.array(rows))


def _footer(file: InputFile) -> tuple[pa.Schema, tuple[tuple[int, int], ...]] | Exception:
    try:
        with open_input(file.path) as raw, pq.ParquetFile(raw) as parquet:
            metadata = parquet.metadata
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            sizes = tuple(
                (group.num_rows, max(group.total_byte_size, group.num_rows * ROW_BYTES))
                for group in groups
            )
            return parquet.schema_arrow, sizes
    except UNREADABLE as error:
        return error


def _refuse_difference(path: str, first: str, expected: pa.Schema, other: pa.Schema) -> None:
    """Refuses a schema that differs from the first file's in more than order and nullability."""
    want = {field.name: field.type for field in expected}
    have = {field.name: field.type for field in other}
    if want == have:
        return
    differences = [
        f"{name}: {want.get(name, 'absent')} against {have.get(name, 'absent')}"
        for name in {**want, **have}
        if want.get(name) != have.get(name)
    ]
    raise RefusedError(
        f"{path}: expected the columns of {first}, found others ({'; '.join(differences)})"
    )


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
            yield RawRows(_conform(batch, self._input.schema), rows, weight)

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
        self._file = pq.ParquetFile(self._raw, buffer_size=1 << 20, pre_buffer=False)
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


def _conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the input's column order, nullability and types (views become plain)."""
    columns = [batch.column(field.name) for field in schema]
    return pa.RecordBatch.from_arrays(
        [
            column if column.type == field.type else column.cast(field.type)
            for column, field in zip(columns, schema, strict=True)
        ],
        schema=pa.schema([field.with_nullable(True) for field in schema]),
    )
