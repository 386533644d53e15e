"""JSON lines, plain or compressed: looked at before any work, cut into slices, and read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from tango_beam import record_columns
from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError
from tango_beam.io import json_objects, jsonl_columns, jsonl_rows
from tango_beam.io.files import Bytes, InputFile, uncompressed_bytes
from tango_beam.io.format import Asked, BadLine, Format, Found, RawRows, broken
from tango_beam.io.json_objects import BOM, LineError
from tango_beam.io.jsonl_misfits import Parsed
from tango_beam.io.jsonl_own import OwnLines
from tango_beam.io.lines import (
    BLOCK_BYTES,
    COMPRESSED_READ_BYTES,
    MAX_LINE_BYTES,
    Block,
    LineStream,
)
from tango_beam.io.planned import Input, PlannedFile, Slice, cuts
from tango_beam.io.stream_source import StreamSource
from tango_beam.io.unify import conform

SAMPLE_ROWS = 10_000
SAMPLE_FILES = 16


class JsonLines(Format):
    """One JSON object a line. A slice is a range of bytes and holds the lines that begin in it."""

    suffixes = (".jsonl", ".ndjson", ".json")

    def inspect(self, files: list[InputFile], asked: Asked) -> Found:
        sampled = files[:SAMPLE_FILES]
        rows: list[dict[str, Any]] = []
        unreadable: dict[str, dict[str, Any]] = {}
        complaint = ""
        for file in sampled:
            try:
                sample, wrong = _sample(file, SAMPLE_ROWS // len(sampled))
                rows += sample
                complaint = complaint or wrong
            except (OSError, pa.ArrowException) as error:
                # A file that breaks further on is read as far as it goes; this one broke at once.
                unreadable[file.path] = broken(file, error, "JSONL", asked.allow_broken)
        planned = [PlannedFile(file) for file in files if file.path not in unreadable]
        if asked.schema is None and not rows:
            raise RefusedError(
                f"{files[0].path}: expected lines that are JSON objects, found "
                f"{complaint or 'no line at all'}"
            )
        if not planned:
            entries = list(unreadable.values())
            raise RefusedError(f"expected at least one readable file, found {entries}")
        columns = jsonl_columns.choose(rows, asked, planned[0].file.path)
        return Found(planned, columns.schema, [*unreadable.values()], columns.notes, columns.lines)

    def limit(self, planned: PlannedFile, rows: int) -> tuple[PlannedFile, int]:
        stop, count = _offset_of_line(planned.file, rows)
        return replace(planned, stop=stop), count

    def pieces(self, index: int, planned: PlannedFile, most: int) -> list[tuple[Slice, int]]:
        size = planned.file.size if planned.stop is None else planned.stop
        runs = cuts(size, max(1, -(-size // most)))
        return [(Slice(index, -1, start, stop), stop - start) for start, stop in runs]

    def estimate_rows(self, files: Sequence[PlannedFile]) -> float:
        looked, lines = 0.0, 0
        for planned in files[:SAMPLE_FILES]:
            end, count = _offset_of_line(planned.file, SAMPLE_ROWS - lines)
            looked, lines = looked + end, lines + count
            if lines >= SAMPLE_ROWS:
                break
        sizes = [planned.stop or uncompressed_bytes(planned.file) for planned in files]
        return sum(sizes) * lines / max(1.0, looked)

    def open(self, given: Input) -> JsonLinesSource:
        return JsonLinesSource(given)


def _lines(file: InputFile) -> Iterator[tuple[int, bytes]]:
    """Lines without their newline, each with the offset at which the next line begins."""
    stream = LineStream(Bytes(file), 0, COMPRESSED_READ_BYTES)
    try:
        for block in stream.blocks(None):
            end = block.offset
            lines = [block.data] if block.too_long else block.data.splitlines(keepends=True)
            for line in lines:
                end += block.line_bytes or len(line)
                yield end, line.rstrip(b"\r\n")
    finally:
        stream.close()


def _sample(file: InputFile, count: int) -> tuple[list[dict[str, Any]], str]:
    """The first objects of a file, and what is wrong with the first line that is none."""
    rows: list[dict[str, Any]] = []
    complaint = ""
    try:
        for number, (_, line) in enumerate(_lines(file)):
            line = line if number else line.removeprefix(BOM)
            if not line.strip():
                continue
            try:
                row = json_objects.load_object(line)
            except LineError as error:
                complaint = complaint or f"{line[:60]!r} ({error})"
                continue
            rows.append(row)
            if len(rows) >= count:
                break
    except OSError:
        if not rows:
            raise
    return rows, complaint


def _offset_of_line(file: InputFile, count: int) -> tuple[int, int]:
    """Where the first `count` lines that are not blank end, and how many there are."""
    end = rows = 0
    try:
        for end, line in _lines(file):
            rows += bool(line.strip())
            if rows >= count:
                return end, rows
    except OSError:
        pass  # the reader meets the break too, and deals with it as it is told to
    return end + 1, rows


class JsonLinesSource(StreamSource[LineStream]):
    """Reads lines; a compressed file is kept open from one checkpoint to the next."""

    def __init__(self, given: Input) -> None:
        super().__init__(given)
        assert given.lines
        self._lines = given.lines
        typed = {field.name: field.type for field in self._lines.typed}
        names = {*typed, *self._lines.as_json, self._lines.extra}
        self._schema = pa.schema(
            [(name, typed.get(name, pa.string())) for name in given.schema.names if name in names]
        )
        own = self._lines.own
        self._own = OwnLines(self._lines, given.text_columns) if own else None

    def rows(self, piece: Slice) -> Iterator[RawRows]:
        file = self._input.files[piece.file].file
        # A line that begins before the slice belongs to the slice before, and its rest is skipped.
        # Skipping starts one byte early, so that it keeps a line that begins right at the start.
        behind = max(0, piece.start - 1)
        stream = LineStream(Bytes(file, behind), behind, BLOCK_BYTES)
        try:
            if piece.start:
                stream.skip_line()
            for block in stream.blocks(piece.stop):
                yield self._read(block, piece.file, max(len(block.data), block.line_bytes))
        finally:
            stream.close()

    def _grid(self, file: int) -> int:
        return self._input.checkpoint_bytes

    def _open(self, file: int) -> LineStream:
        return LineStream(Bytes(self._input.files[file].file), 0, COMPRESSED_READ_BYTES)

    def _place(self, stream: LineStream) -> int:
        return stream.offset

    def missing(self, piece: Slice, rows: int) -> tuple[Int64, dict[str, Any]]:
        entry = {
            "read_up_to_byte": self._stream.offset if self._stream else piece.start,
            "of_uncompressed": True,
            "file_bytes": self._input.files[piece.file].file.size,
        }
        self.close()
        return np.zeros(0, np.int64), entry

    def _read(self, block: Block, file: int, weight: int) -> RawRows:
        parsed = self._parse(block)

        def raw(rows: Int64) -> pa.Array:
            starts = (parsed.offsets[rows] - block.offset).tolist()
            return pa.array([_line(block.data, start) for start in starts], pa.binary())

        return RawRows(self._conformed(parsed.batch), parsed.offsets, weight, parsed.bad, raw)

    def _conformed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the input's types, which other formats may have widened."""
        if self._own is not None:
            return batch
        hidden = [name for name in batch.schema.names if name.startswith(record_columns.HIDDEN)]
        rows = conform(record_columns.drop(batch, record_columns.HIDDEN), self._input.schema)
        return record_columns.append(rows, {name: batch.column(name) for name in hidden})

    def _parse(self, block: Block) -> Parsed:
        if block.too_long:
            found = f"found {block.line_bytes:,}"
            error = f"expected at most {MAX_LINE_BYTES:,} bytes in a line, {found}"
            nothing = self._parsed(b"", block.offset)
            return replace(nothing, bad=[BadLine(block.offset, block.data, error)])
        return self._parsed(block.data, block.offset)

    def _parsed(self, data: bytes, offset: int) -> Parsed:
        if self._own is not None:
            return self._own.parse(data, offset)
        return jsonl_rows.parse(data, offset, self._lines, self._schema, self._input.text_columns)


def _line(data: bytes, start: int) -> bytes:
    end = data.find(b"\n", start)
    return data[start : len(data) if end < 0 else end].rstrip(b"\r")
