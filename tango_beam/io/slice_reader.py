"""Reads slices of the input into record batches with positions, and sets dead rows apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from tango_beam import record_columns, text_columns
from tango_beam.arrays import Int64
from tango_beam.io import partitions
from tango_beam.io.format import UNREADABLE, BadLine, RawRows, Source, one_line
from tango_beam.io.formats import FORMATS
from tango_beam.io.json_values import dump_rows, not_utf8
from tango_beam.io.plan import plan_items
from tango_beam.io.planned import Input, Slice

READ_STAGE = "read"


@dataclass
class Reading:
    """What one attempt at a checkpoint has read so far; the reader fills it.

    Attributes:
      checkpoint: its number.
      attempt: a random number.
      rows: rows read, dead ones among them.
      broken: files that broke midway.
    """

    checkpoint: int
    attempt: int
    rows: int = 0
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

    @property
    def rows(self) -> int:
        """Rows read, dead ones among them."""
        return sum(batch.num_rows for batch in (self.good, self.dead) if batch is not None)


class SliceReader:
    """Reads slices, and keeps a file open from one slice to the next."""

    def __init__(self, given: Input) -> None:
        self._input = given
        self._in_folders = any(planned.folders for planned in given.files)
        self._sources: dict[str, Source] = {}

    def close(self) -> None:
        """Closes what is open."""
        for source in self._sources.values():
            source.close()

    def read(self, piece: Slice, reading: Reading) -> Iterator[Piece]:
        """Rows of a slice of a file that is not compressed."""
        return self._guarded(self._source(piece).rows(piece), piece, reading)

    def read_stream(self, piece: Slice, index: int, reading: Reading) -> Iterator[Piece]:
        """Rows of the `index`-th checkpoint of a compressed file."""
        return self._guarded(self._source(piece).stream(piece, index), piece, reading)

    def stream_ended(self, piece: Slice) -> bool:
        """Whether a compressed file has nothing left behind what was read of it."""
        return self._source(piece).stream_ended(piece)

    def read_all(self) -> Iterator[Piece]:
        """Every row of the input, in order, for commands that keep no checkpoints."""
        for item in plan_items(self._input.files, self._input.checkpoint_bytes):
            if not item.stream:
                for piece in item.slices:
                    yield from self.read(piece, Reading(0, 0))
                continue
            (piece,), index, more = item.slices, 0, True
            while more:
                yield from self.read_stream(piece, index, Reading(index, 0))
                more, index = not self.stream_ended(piece), index + 1
        self.close()

    def _source(self, piece: Slice) -> Source:
        kind = self._input.files[piece.file].file.format
        if kind not in self._sources:
            inside = replace(self._input, schema=self._input.inside)
            self._sources[kind] = FORMATS[kind].open(inside)
        return self._sources[kind]

    def _guarded(self, rows: Iterator[RawRows], piece: Slice, reading: Reading) -> Iterator[Piece]:
        """Rows as pieces. A file that breaks midway is named, or listed where that is allowed."""
        before = reading.rows
        place = _Place(piece, reading)
        try:
            for some in rows:
                yield self._parted(some, place)
        except UNREADABLE as raised:
            error, path = one_line(raised), self._input.files[piece.file].file.path
            count, allowed = reading.rows - before, self._input.allow_broken_files
            if not allowed:
                hint = "; --allow_broken_files goes on without the rest"
                raise OSError(
                    f"{path}: expected to read on, found {error} after {count:,} rows of this "
                    f"checkpoint{'' if allowed is None else hint}"
                ) from raised
            lost, entry = self._source(piece).missing(piece, count)
            reading.broken.append({"path": path, "error": error, **entry})
            if len(lost):
                raw = pa.nulls(len(lost), pa.binary())
                yield place.count(
                    None, place.dead(lost, raw, [f"not read: {error}"] * len(lost)), 0
                )

    def _parted(self, rows: RawRows, place: _Place) -> Piece:
        """Sets apart rows that cannot be scored and lines that are no rows."""
        good = rows.batch
        if self._in_folders:
            planned = self._input.files[place.piece.file]
            good = partitions.add(good, planned, self._input.schema)
        good = self._with_texts(good)
        reasons = _complaints(good, self._input)
        lost, kept = np.array(sorted(reasons), np.int64), rows.rows
        dead = [_bad_lines(rows.bad, place)] if rows.bad else []
        if reasons:
            raw = rows.raw(lost) if rows.raw else raw_records(good.take(pa.array(lost)))
            dead.append(place.dead(rows.rows[lost], raw, [reasons[int(row)] for row in lost]))
            stay = np.setdiff1d(np.arange(good.num_rows), lost)
            good, kept = good.take(pa.array(stay)), rows.rows[stay]
        whole = None
        if good.num_rows:
            whole = record_columns.append(good, {record_columns.POSITION: place.positions(kept)})
        return place.count(whole, pa.concat_batches(dead) if dead else None, rows.weight)

    def _with_texts(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with texts that are no column of their own as hidden columns."""
        wanted = zip(self._input.text_columns, self._input.texts, strict=True)
        missing = {
            hidden: text_columns.extract(batch, name)
            for name, hidden in wanted
            if hidden not in batch.schema.names
        }
        return record_columns.append(batch, missing) if missing else batch


@dataclass(frozen=True)
class _Place:
    """Where rows come from, and the attempt that reads them."""

    piece: Slice
    reading: Reading

    def positions(self, rows: Int64) -> pa.StructArray:
        reading, piece = self.reading, self.piece
        return record_columns.positions(
            reading.checkpoint, reading.attempt, piece.file, piece.row_group, rows
        )

    def dead(self, rows: Int64, raw: pa.Array, errors: list[str]) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict(
            {
                record_columns.POSITION: self.positions(rows),
                record_columns.STAGE: record_columns.constant(READ_STAGE, len(rows), pa.string()),
                record_columns.ERROR: pa.array(errors, pa.string()),
                record_columns.RAW: raw,
            }
        )

    def count(self, good: pa.RecordBatch | None, dead: pa.RecordBatch | None, weight: int) -> Piece:
        piece = Piece(good, dead, weight)
        self.reading.rows += piece.rows
        return piece


def _bad_lines(bad: Sequence[BadLine], place: _Place) -> pa.RecordBatch:
    offsets = np.array([line.offset for line in bad], np.int64)
    raw = pa.array([line.raw for line in bad], pa.binary())
    return place.dead(offsets, raw, [line.error for line in bad])


def _complaints(batch: pa.RecordBatch, given: Input) -> dict[int, str]:
    """Rows that cannot be scored, with the reason."""
    reasons = {}
    shown = dict(zip(given.texts, given.text_columns, strict=True))
    for column, name in shown.items():
        if batch.column(column).null_count:
            nulls = batch.column(column).is_null().to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(nulls):
                reasons[int(row)] = f"column {name!r}: expected a text, found null"
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        error = f"column {shown.get(name, name)!r}: expected UTF-8, found other bytes"
        reasons |= dict.fromkeys(not_utf8(values).tolist(), error)
    return reasons


def raw_records(batch: pa.RecordBatch) -> pa.Array:
    """Rows as JSON objects, for dead letters: lines as they were read, else the visible columns."""
    if record_columns.LINE in batch.schema.names:
        return batch.column(record_columns.LINE)
    names = record_columns.visible(batch.schema.names)
    return pa.array(dump_rows(batch.select(names)), pa.binary())
