"""Reads the slices of a checkpoint into record batches with positions; no Beam."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam import records
from tango_beam.io import files as input_files
from tango_beam.io import jsonl
from tango_beam.io.files import PARQUET
from tango_beam.io.jsonout import dump_rows
from tango_beam.io.lines import (
    BLOCK_BYTES,
    COMPRESSED_READ_BYTES,
    MAX_LINE_BYTES,
    Block,
    LineStream,
)
from tango_beam.io.plan import Slice
from tango_beam.io.rowgroups import RowGroupStream
from tango_beam.io.run import Run

RAW = records.HIDDEN + "raw"
READ_STAGE = "read"


@dataclass
class Reading:
    """What one attempt at a checkpoint reads; filled while it goes on.

    Attributes:
      checkpoint: its number.
      attempt: random.
      rows: rows read, dead ones among them.
      errors: dead rows by reason.
      broken: files that broke midway.
    """

    checkpoint: int
    attempt: int
    rows: int = 0
    dead: int = 0
    broken: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """Rows of one file: good ones and dead ones.

    Attributes:
      good: the input's columns and the position; no null text among them.
      dead: position, stage, error and raw record.
      weight: bytes of input taken in, for progress.
    """

    good: pa.RecordBatch | None
    dead: pa.RecordBatch | None
    weight: int


class SliceReader:
    """Reads slices, and keeps compressed files and row groups open from one to the next."""

    def __init__(self, run: Run) -> None:
        self._run = run
        # File, where the next checkpoint must begin for the stream to serve it, stream.
        self._open: tuple[int, int, LineStream] | None = None
        self._group: tuple[int, RowGroupStream] | None = None

    def close(self) -> None:
        """Closes what is open."""
        for held in (self._open, self._group):
            if held:
                held[-1].close()
        self._open = self._group = None

    def read(self, piece: Slice, reading: Reading) -> Iterator[Piece]:
        """Rows of a slice of a Parquet file or of an uncompressed JSONL file."""
        planned = self._run.files[piece.file]
        if planned.file.format == PARQUET:
            return self._guarded(self._rows(piece, reading), piece, reading)
        stream = self._seek(piece.file, piece.start)
        return self._guarded(self._lines(stream, piece.file, piece.stop, reading), piece, reading)

    def read_stream(self, piece: Slice, index: int, reading: Reading) -> Iterator[Piece]:
        """Rows of the `index`-th checkpoint of a compressed file."""
        step = self._run.checkpoint_bytes
        start, stop = index * step, (index + 1) * step
        if piece.stop is not None:
            stop = min(stop, piece.stop)
        return self._guarded(self._stream(piece, start, stop, reading), piece, reading)

    def _rows(self, piece: Slice, reading: Reading) -> Iterator[Piece]:
        planned = self._run.files[piece.file]
        rows_in_group, group_bytes = planned.row_groups[piece.row_group]
        assert piece.stop is not None
        group = self._row_group(piece)
        for first, batch in group.rows(piece.start, piece.stop):
            rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
            part = _conform(batch, self._run.input_schema)
            good, dead = _part(self._run, part, rows, piece.file, piece.row_group, reading)
            weight = group_bytes * batch.num_rows // max(1, rows_in_group)
            yield _counted(good, dead, weight, reading)

    def _row_group(self, piece: Slice) -> RowGroupStream:
        held = self._group
        if held and held[0] == piece.file and held[1].can_reach(piece.row_group, piece.start):
            return held[1]
        self.close()
        path = self._run.files[piece.file].file.path
        group = RowGroupStream(path, piece.row_group, self._run.input_schema.names)
        self._group = (piece.file, group)
        return group

    def _stream(self, piece: Slice, start: int, stop: int, reading: Reading) -> Iterator[Piece]:
        stream = self._continue(piece.file, start)
        # Until this checkpoint is read whole the stream serves no other, this one again included.
        self._open = (piece.file, -1, stream)
        yield from self._lines(stream, piece.file, stop, reading)
        self._open = (piece.file, stop, stream)

    def stream_ended(self, piece: Slice) -> bool:
        """Whether a compressed file has no line left behind what was read of it."""
        if not self._open or self._open[0] != piece.file:
            return True  # it broke, and is not read any further
        stream = self._open[-1]
        try:
            ended = stream.at_end or (piece.stop is not None and stream.offset >= piece.stop)
        except OSError:
            return False  # the next checkpoint meets the break and deals with it
        if ended:
            self.close()
        return ended

    def _seek(self, index: int, start: int) -> LineStream:
        file = self._run.files[index].file
        # Lines that begin before the slice belong to the one before it: step back a byte, so that
        # a line that begins right at the start is not taken for the rest of one.
        behind = max(0, start - 1)
        stream = LineStream(input_files.Bytes(file, behind), behind, BLOCK_BYTES)
        if start:
            stream.skip_line()
        return stream

    def _continue(self, index: int, start: int) -> LineStream:
        if self._open and self._open[:2] == (index, start):
            return self._open[-1]
        self.close()
        file = self._run.files[index].file
        stream = LineStream(input_files.Bytes(file), 0, COMPRESSED_READ_BYTES)
        self._open = (index, -1, stream)
        stream.skip_to(start)
        return stream

    def _lines(
        self, stream: LineStream, index: int, stop: int | None, reading: Reading
    ) -> Iterator[Piece]:
        try:
            taken_in = stream.stored
            for block in stream.blocks(stop):
                parsed = _parse(block, self._run.row_schema)
                weight = max(len(block.data), block.line_bytes)
                if self._run.files[index].file.compression:
                    # Its length is not known: progress goes by its bytes as stored.
                    weight, taken_in = stream.stored - taken_in, stream.stored
                yield self._parsed(parsed, block, index, reading, weight)
        finally:
            if not self._open or stream is not self._open[-1]:
                stream.close()

    def _parsed(
        self, parsed: jsonl.Parsed, block: Block, index: int, reading: Reading, weight: int
    ) -> Piece:
        chosen = parsed.batch.select(self._run.input_schema.names)

        def lines(rows: list[int]) -> pa.Array:
            starts = (parsed.offsets[rows] - block.offset).tolist()
            return pa.array([_line(block.data, start) for start in starts], pa.binary())

        good, dead = _part(self._run, chosen, parsed.offsets, index, -1, reading, lines)
        if parsed.bad:
            offsets = np.array([line.offset for line in parsed.bad], np.int64)
            raw = pa.array([line.raw for line in parsed.bad], pa.binary())
            errors = pa.array([line.error for line in parsed.bad], pa.string())
            bad = _dead(offsets, raw, errors, index, -1, reading)
            dead = bad if dead is None else pa.concat_batches([bad, dead])
        return _counted(good, dead, weight, reading)

    def _guarded(self, pieces: Iterator[Piece], piece: Slice, reading: Reading) -> Iterator[Piece]:
        """Passes pieces on; a break midway names the file, or is listed where that is allowed."""
        before = reading.rows
        path = self._run.files[piece.file].file.path
        try:
            yield from pieces
        except (OSError, pa.ArrowException, UnicodeDecodeError) as raised:
            error = " ".join(str(raised).split())
            if not self._run.allow_broken_files:
                raise OSError(
                    f"{path}: expected to read on, found {error} after {reading.rows - before:,} "
                    "rows of this checkpoint; --allow_broken_files goes on without the rest"
                ) from raised
            yield from self._break(piece, path, error, reading.rows - before, reading)

    def _break(
        self, piece: Slice, path: str, error: str, rows: int, reading: Reading
    ) -> Iterator[Piece]:
        entry: dict[str, Any] = {"path": path, "error": error}
        if piece.row_group >= 0:
            assert piece.stop is not None
            lost = np.arange(piece.start + rows, piece.stop, dtype=np.int64)
            entry |= {"row_group": piece.row_group, "rows_not_read": len(lost)}
            raw = pa.nulls(len(lost), pa.binary())
            errors = records.constant(f"not read: {error}", len(lost), pa.string())
            dead = _dead(lost, raw, errors, piece.file, piece.row_group, reading)
            yield _counted(None, dead, 0, reading)
        else:
            offset = self._open[-1].offset if self._open else piece.start
            size = self._run.files[piece.file].file.size
            entry |= {"read_up_to_byte": offset, "of_uncompressed": True, "file_bytes": size}
            self.close()
        reading.broken.append(entry)


def _line(data: bytes, start: int) -> bytes:
    end = data.find(b"\n", start)
    return data[start : len(data) if end < 0 else end].rstrip(b"\r")


def _parse(block: Block, schema: pa.Schema) -> jsonl.Parsed:
    if not block.too_long:
        return jsonl.parse(block.data, block.offset, schema)
    error = f"expected at most {MAX_LINE_BYTES:,} bytes in a line, found {block.line_bytes:,}"
    bad = [jsonl.BadLine(block.offset, block.data, error)]
    return jsonl.Parsed(pa.RecordBatch.from_pylist([], schema), np.zeros(0, np.int64), bad)


def _conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the run's column order, nullability and types (views become plain)."""
    columns = [batch.column(field.name) for field in schema]
    return pa.RecordBatch.from_arrays(
        [
            column if column.type == field.type else column.cast(field.type)
            for column, field in zip(columns, schema, strict=True)
        ],
        schema=pa.schema([field.with_nullable(True) for field in schema]),
    )


def _part(
    run: Run,
    batch: pa.RecordBatch,
    rows: npt.NDArray[np.int64],
    index: int,
    row_group: int,
    reading: Reading,
    lines: Callable[[list[int]], pa.Array] | None = None,
) -> tuple[pa.RecordBatch | None, pa.RecordBatch | None]:
    """Parts rows with a text from rows without one; `lines` gives the raw records of rows."""
    reasons = _complaints(batch, run.text_columns)
    good, dead = batch, None
    if reasons:
        lost = sorted(reasons)
        kept = np.setdiff1d(np.arange(batch.num_rows), lost)
        raw = lines(lost) if lines else raw_records(batch.take(pa.array(lost)))
        errors = pa.array([reasons[row] for row in lost], pa.string())
        dead = _dead(rows[lost], raw, errors, index, row_group, reading)
        good, rows = batch.take(pa.array(kept)), rows[kept]
    if not good.num_rows:
        return None, dead
    position = records.positions(reading.checkpoint, reading.attempt, index, row_group, rows)
    return records.append(good, {records.POSITION: position}), dead


def _complaints(batch: pa.RecordBatch, text_columns: tuple[str, ...]) -> dict[int, str]:
    """Rows that cannot be scored, with the reason."""
    reasons = {}
    for name in text_columns:
        if batch.column(name).null_count:
            nulls = batch.column(name).is_null().to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(nulls):
                reasons[int(row)] = f"column {name!r}: expected a text, found null"
    for name, rows in not_utf8(batch).items():
        reasons |= {row: f"column {name!r}: expected UTF-8, found other bytes" for row in rows}
    return reasons


def not_utf8(batch: pa.RecordBatch) -> dict[str, list[int]]:
    """Rows whose strings are not UTF-8, by column; Arrow leaves that unchecked when it reads."""
    found: dict[str, list[int]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = column.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            continue
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            large = pa.types.is_large_string(kind)
            values = column.view(pa.large_binary() if large else pa.binary()).to_pylist()
            found[name] = [row for row, value in enumerate(values) if not _decodes(value)]
    return found


def _decodes(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
        return True
    except UnicodeDecodeError:
        return False


def raw_records(batch: pa.RecordBatch) -> pa.Array:
    """Rows as JSON objects, for dead letters; binary column, hidden columns left out."""
    names = records.visible(batch.schema.names)
    return pa.array(dump_rows(batch.select(names)), pa.binary())


def _dead(
    rows: npt.NDArray[np.int64],
    raw: pa.Array,
    errors: pa.Array,
    index: int,
    row_group: int,
    reading: Reading,
) -> pa.RecordBatch:
    position = records.positions(reading.checkpoint, reading.attempt, index, row_group, rows)
    stage = records.constant(READ_STAGE, len(rows), pa.string())
    return pa.RecordBatch.from_pydict(
        {records.POSITION: position, records.STAGE: stage, records.ERROR: errors, RAW: raw}
    )


def _counted(
    good: pa.RecordBatch | None, dead: pa.RecordBatch | None, weight: int, reading: Reading
) -> Piece:
    lost = dead.num_rows if dead is not None else 0
    reading.rows += lost + (good.num_rows if good is not None else 0)
    reading.dead += lost
    return Piece(good, dead, weight)
