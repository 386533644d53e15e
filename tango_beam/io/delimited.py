"""CSV and TSV with a header, plain or compressed: looked at before any work, and read.

Nothing is guessed: each column is a string, as it stands (`007`, `NA`, an empty one too), unless a
schema, or a file of another format, states its type; an empty field is then null. Blank lines are
no rows. A position is the row's number, from 0, without the header.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError
from tango_beam.io.files import Bytes, InputFile, uncompressed_bytes
from tango_beam.io.format import Asked, BadLine, Format, Found, RawRows, broken
from tango_beam.io.lines import COMPRESSED_READ_BYTES
from tango_beam.io.planned import ROWS, Input, PlannedFile, Slice
from tango_beam.io.rows import RowBlock, RowStream
from tango_beam.io.stream_source import StreamSource
from tango_beam.io.unify import unify

_SAMPLE_BYTES = 1 << 18
_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
_TABS = (".tsv", ".tab")
# Arrow ends a row at a carriage return, which other tools leave unquoted; no UTF-8 has this byte.
_LONE_RETURN, _STAND_IN = re.compile(rb"\r(?!\n)"), b"\xff"
_BYTES = "latin1"  # in which each byte is a character
_UTF8 = "iconv -f WINDOWS-1252 -t UTF-8, or the encoding that it has, makes it UTF-8"


@dataclass(frozen=True)
class _Header:
    """What a file's beginning says: columns (none in an empty file), separator, bytes of a row."""

    names: tuple[str, ...]
    separator: str
    row_bytes: int


class Delimited(Format):
    """Rows of fields with a header. A checkpoint is so many rows."""

    suffixes = (".csv", *_TABS)
    stream_group = ROWS
    typed = False

    def inspect(self, files: list[InputFile], asked: Asked) -> Found:
        with ThreadPoolExecutor(16) as pool:
            headers = list(pool.map(_look, files))
        planned: list[PlannedFile] = []
        unreadable: list[dict[str, Any]] = []
        empty: list[str] = []
        names: dict[str, tuple[str, ...]] = {}
        notes: list[str] = []
        for file, header in zip(files, headers, strict=True):
            if isinstance(header, OSError):
                unreadable.append(broken(file, header, "CSV", asked.allow_broken))
            elif not header.names:
                empty.append(file.path)
            else:
                names[file.path] = header.names
                planned.append(
                    PlannedFile(file, row_bytes=header.row_bytes, separator=header.separator)
                )
                if header.separator != _usual_separator(file.path):
                    notes.append(f"{file.path}: {_SEPARATORS[header.separator]} separate fields")
        if not planned:
            raise RefusedError(
                f"{files[0].path}: expected a header of column names, found "
                f"{unreadable or 'an empty file'}"
            )
        if empty:
            notes.append(f"{len(empty)} empty files have no row ({', '.join(empty[:3])})")
        schema, unified = _schema(names, asked)
        return Found(planned, schema, unreadable, (*notes, *unified))

    def is_stream(self, file: InputFile) -> bool:
        return True

    def limit(self, planned: PlannedFile, rows: int) -> tuple[PlannedFile, int]:
        assert planned.separator
        stream = RowStream(Bytes(planned.file), planned.separator, COMPRESSED_READ_BYTES)
        try:
            stream.header()
            stream.skip_to(rows)
        except OSError:
            pass  # the reader meets the break too, and deals with it as it is told to
        finally:
            stream.close()
        return replace(planned, stop=rows), stream.number

    def estimate_rows(self, files: Sequence[PlannedFile]) -> float:
        return sum(min(_estimate(planned), planned.stop or np.inf) for planned in files)

    def open(self, given: Input) -> DelimitedSource:
        return DelimitedSource(given)


def _estimate(planned: PlannedFile) -> float:
    return uncompressed_bytes(planned.file) / (planned.row_bytes or 1)


def _usual_separator(path: str) -> str:
    stem = path.lower().partition("?")[0]
    return "\t" if any(end in stem.rsplit("/", 1)[-1] for end in _TABS) else ","


def _look(file: InputFile) -> _Header | OSError:
    try:
        source = Bytes(file)
    except OSError as error:
        return error
    head = b""
    try:
        while len(head) < _SAMPLE_BYTES and (more := source.read(COMPRESSED_READ_BYTES)):
            head += more
    except OSError as error:
        if not head:
            return error
    finally:
        source.close()
    if b"\r" in head and b"\n" not in head:
        raise RefusedError(
            f"{file.path}: expected lines that end in a newline, found carriage returns alone; "
            f"tr '\\r' '\\n' makes them newlines"
        )
    separator = _separator(head, _usual_separator(file.path))
    rows = RowStream(_Sample(head), separator)
    header = rows.header()
    rows.skip_to(len(head))
    names = () if header is None else _names(header, separator, file.path)
    row_bytes = (len(head) - len(header or b"")) // max(1, rows.number)
    return _Header(names, separator, max(1, row_bytes))


class _Sample(io.BytesIO):
    def stored(self) -> int:
        return self.tell()


def _separator(head: bytes, usual: str) -> str:
    """What separates a header's fields: what its file's name tells, if it stands in it at all."""
    line = head.lstrip(b"\r\n").partition(b"\n")[0].decode(errors="replace")
    outside = "".join(line.split('"')[::2])
    counts = {mark: outside.count(mark) for mark in (usual, *_SEPARATORS)}
    return usual if counts[usual] else max(counts, key=lambda mark: counts[mark])


def _names(header: bytes, separator: str, path: str) -> tuple[str, ...]:
    """A header's names; an empty one becomes `column_1`, by its place."""
    try:
        text = header.decode()
    except UnicodeDecodeError as error:
        raise RefusedError(
            f"{path}: expected a header in UTF-8, found {header[:60]!r}; {_UTF8}"
        ) from error
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    return tuple(name or f"column_{place}" for place, name in enumerate(names, 1))


def _schema(names: dict[str, tuple[str, ...]], asked: Asked) -> tuple[pa.Schema, tuple[str, ...]]:
    """The columns that are read, and what is to be said of files that differ."""
    stated = {field.name: field.type for field in asked.schema or ()}
    every = [*dict.fromkeys(name for some in names.values() for name in some)]
    first = next(iter(names))
    for name, kind in stated.items():
        if name not in every:
            raise RefusedError(f"--schema: expected columns of {first}, found {name}")
        try:
            pa.array([], pa.string()).cast(kind)
        except pa.ArrowException as error:
            raise RefusedError(
                f"--schema: expected types that a field of CSV may hold, found {name}: {kind}"
            ) from error
    read = {*asked.choose(every, next(iter(names)))}
    schemas = {
        path: pa.schema([(name, stated.get(name, pa.string())) for name in some if name in read])
        for path, some in names.items()
    }
    for path in {some: path for path, some in reversed(names.items())}.values():
        asked.check(schemas[path], path)
    return unify(schemas, option=asked.option)


class DelimitedSource(StreamSource[RowStream]):
    """Reads rows; a file is kept open from one checkpoint to the next."""

    def __init__(self, given: Input) -> None:
        super().__init__(given)
        self._names: tuple[str, ...] = ()

    def _grid(self, file: int) -> int:
        row_bytes = self._input.files[file].row_bytes or 1
        return max(1, self._input.checkpoint_bytes // row_bytes)

    def _open(self, file: int) -> RowStream:
        planned = self._input.files[file]
        assert planned.separator
        stream = RowStream(Bytes(planned.file), planned.separator, COMPRESSED_READ_BYTES)
        try:
            header = stream.header() or b""
        except OSError:
            stream.close()
            raise
        self._names = _names(header, planned.separator, planned.file.path)
        return stream

    def _place(self, stream: RowStream) -> int:
        return stream.number

    def missing(self, piece: Slice, rows: int) -> tuple[Int64, dict[str, Any]]:
        entry = {
            "read_up_to_row": self._stream.number if self._stream else piece.start,
            "file_bytes": self._input.files[piece.file].file.size,
        }
        self.close()
        return np.zeros(0, np.int64), entry

    def _read(self, block: RowBlock, file: int, weight: int) -> RawRows:
        separator = self._input.files[file].separator
        assert separator
        schema = self._input.schema
        strings, rows, bad = parse(block, self._names, schema.names, separator)
        columns: list[pa.Array] = []
        wrong: dict[int, str] = {}
        for field in schema:
            if field.name in self._names:
                column, errors = _typed(strings.column(field.name), field)
                wrong = errors | wrong
            else:
                column = pa.nulls(len(rows), field.type)
            columns.append(column)
        batch = pa.RecordBatch.from_arrays(columns, schema=schema)
        if wrong:
            bad += [
                BadLine(int(block.numbers[rows[row]]), block.row(rows[row]), error)
                for row, error in wrong.items()
            ]
            stay = np.setdiff1d(np.arange(len(rows)), [*wrong])
            batch, rows = batch.take(pa.array(stay)), rows[stay]
        bad.sort(key=lambda line: line.offset)

        def raw(some: Int64) -> pa.Array:
            return pa.array([block.row(row) for row in rows[some].tolist()], pa.binary())

        return RawRows(batch, block.numbers[rows], weight, bad, raw)


def parse(
    block: RowBlock, names: Sequence[str], wanted: Sequence[str], separator: str
) -> tuple[pa.RecordBatch, Int64, list[BadLine]]:
    """Some columns of a block's rows as strings.

    Returns:
      The columns; which rows of the block they are, int64, shape [rows]; and the rows that have
      another number of fields.
    """
    chosen = [str(names.index(name)) for name in wanted if name in names]
    data = _LONE_RETURN.sub(_STAND_IN, block.data) if _STAND_IN not in block.data else block.data
    batch, wrong = _arrow(data, len(names), chosen, separator)
    if batch.num_rows + len(wrong) != len(block.starts):
        # A carriage return beside bytes that are no UTF-8. One by one, each row is one or is none.
        batches, wrong = [batch.slice(0, 0)], {}
        for index in range(len(block.starts)):
            row, failed = _arrow(block.row(index) + b"\n", len(names), chosen, separator)
            if row.num_rows == 1 and not failed:
                batches.append(row)
            else:
                wrong[index] = "found a carriage return"
        batch = pa.concat_batches(batches)
    elif data is not block.data and _STAND_IN in data:
        columns = [
            pc.replace_substring(one.view(pa.binary()), _STAND_IN, b"\r") for one in batch.columns
        ]
        batch = pa.RecordBatch.from_arrays([one.view(pa.string()) for one in columns], chosen)
    kept = np.setdiff1d(np.arange(len(block.starts)), [*wrong])
    bad = [
        BadLine(int(block.numbers[row]), block.row(row), f"expected {len(names)} fields, {found}")
        for row, found in wrong.items()
    ]
    return batch.rename_columns([names[int(place)] for place in chosen]), kept, block.bad + bad


def _arrow(
    data: bytes, fields: int, chosen: list[str], separator: str
) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Fields by their places, and what was found in rows with another number of fields."""
    wrong: dict[int, str] = {}

    def skip(row: pa.csv.InvalidRow) -> str:
        wrong[row.number - 1] = f"found {row.actual_columns}"
        return "skip"

    kinds = dict.fromkeys(chosen, pa.string())
    encoding = _encoding(data)
    if not data:
        return pa.RecordBatch.from_pylist([], pa.schema(kinds)), wrong
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        read_options=pa.csv.ReadOptions(
            column_names=[str(place) for place in range(fields)],
            use_threads=False,
            block_size=2 * len(data) + 1,
            encoding=encoding,
        ),
        parse_options=pa.csv.ParseOptions(
            delimiter=separator,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=skip,
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=kinds,
            include_columns=chosen,
            null_values=[],
            strings_can_be_null=False,
            check_utf8=False,  # the reader of slices checks, and sets apart one row, not a block
        ),
    )
    batches = table.combine_chunks().to_batches()
    batch = batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)
    return (_as_written(batch) if encoding == _BYTES else batch), wrong


def _encoding(data: bytes) -> str:
    """Of a block, for Arrow, which shows rows that are no UTF-8 to no handler."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return _BYTES
    return "utf8"


def _as_written(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Strings of one character for each byte as these bytes."""
    values = ([text.encode(_BYTES) for text in column.to_pylist()] for column in batch.columns)
    columns = [pa.array(column, pa.binary()).view(pa.string()) for column in values]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _typed(column: pa.Array, field: pa.Field) -> tuple[pa.Array, dict[int, str]]:
    """Strings as another type, and what is wrong with those that are none; empty ones are null."""
    if field.type == column.type:
        return column, {}
    filled = pc.if_else(pc.equal(pc.binary_length(column), 0), pa.scalar(None, pa.string()), column)
    try:
        return filled.cast(field.type), {}
    except (pa.ArrowException, UnicodeDecodeError):
        pass
    wrong: dict[int, str] = {}
    values: list[Any] = []
    for row, value in enumerate(filled):
        try:
            values.append(value.cast(field.type))
        except (pa.ArrowException, UnicodeDecodeError):
            found = value.as_buffer().to_pybytes()[:60]
            wrong[row] = f"column {field.name!r}: expected {field.type}, found {found!r}"
            values.append(pa.scalar(None, field.type))
    return pa.array([scalar.as_py() for scalar in values], field.type), wrong
