"""JSON lines to record batches under a fixed schema; each bad line is set apart with its reason.

Arrow's own reader parses whole blocks and is as strict as it must be (strings stay strings, unknown
keys and other types are refused), but one bad line fails its whole block. So Arrow gets the whole
block first. If that fails, lines are checked one at a time, and Arrow gets those that pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json

from tango_beam.arrays import Int64
from tango_beam.io.format import BadLine

# Arrow reads these as numbers; JSON has no such words.
_NOT_JSON = (b"NaN", b"Infinity")
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Parsed:
    """A block's records and bad lines.

    Attributes:
      batch: the good rows, in order.
      offsets: int64, shape [rows]: where their lines begin.
      bad: the lines that are no rows.
    """

    batch: pa.RecordBatch
    offsets: Int64
    bad: list[BadLine]


def parse(data: bytes, offset: int, schema: pa.Schema) -> Parsed:
    """Parses whole lines. Blank lines are no rows.

    Args:
      data: lines, each with its newline; the last may lack it.
      offset: where they begin in the file.
      schema: of every row; missing keys are null.
    """
    if offset == 0 and data.startswith(BOM):
        data, offset = data[len(BOM) :], len(BOM)
    starts = _line_starts(data)
    batch = _arrow(data, schema) if _one_object_a_line(data, starts) else None
    if batch is not None and batch.num_rows == len(starts):
        return Parsed(batch, starts + offset, [])
    return _parse_lines(data, starts, offset, schema)


def _line_starts(data: bytes) -> Int64:
    breaks = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    starts = np.concatenate([[0], breaks + 1]).astype(np.int64)
    return starts[starts < len(data)]


def _one_object_a_line(data: bytes, starts: Int64) -> bool:
    """Whether each line begins with { and ends with }.

    No JSON value goes on between } and {, so each such line holds whole values. If Arrow then reads
    one row for each line, each line holds exactly one.
    """
    if not len(starts) or any(word in data for word in _NOT_JSON):
        return False
    codes = np.frombuffer(data, np.uint8)
    stops = np.append(starts[1:], len(data) + (not data.endswith(b"\n"))) - 1
    ends = np.where(codes[stops - 1] == ord("\r"), stops - 2, stops - 1)
    long_enough = (ends > starts).all()
    return bool(
        long_enough and (codes[starts] == ord("{")).all() and (codes[ends] == ord("}")).all()
    )


def _arrow(data: bytes, schema: pa.Schema) -> pa.RecordBatch | None:
    """The rows that Arrow reads, in one batch; None if it refuses any."""
    if not len(schema):
        return None
    try:
        table = pa.json.read_json(
            pa.BufferReader(data),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pa.json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="error"
            ),
        )
        table.validate(full=True)  # Arrow checks UTF-8 only here
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, UnicodeDecodeError):
        return None
    batches = table.select(schema.names).combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema)


def _parse_lines(data: bytes, starts: Int64, offset: int, schema: pa.Schema) -> Parsed:
    checks = {field.name: _check(field) for field in schema}
    good: list[tuple[int, bytes]] = []
    bad: list[BadLine] = []
    stops = np.append(starts, len(data))[1:]
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        line = data[start:stop].rstrip(b"\r\n")
        if not line.strip(b" \t\r\n"):
            continue
        error = _complaint(line, checks)
        if error:
            bad.append(BadLine(offset + start, line, error))
        else:
            good.append((offset + start, line))
    batches: list[pa.RecordBatch] = []
    kept: list[int] = []
    for part, batch in _arrow_parts(good, schema):
        if batch is None:
            bad.append(
                BadLine(
                    *part[0], f"expected {_describe(schema)}, found another type or a key twice"
                )
            )
        else:
            batches.append(batch)
            kept.extend(start for start, _ in part)
    empty = pa.RecordBatch.from_pylist([], schema)
    whole = pa.concat_batches(batches) if batches else empty
    bad.sort(key=lambda line: line.offset)
    return Parsed(whole, np.array(kept, np.int64), bad)


def _arrow_parts(
    lines: list[tuple[int, bytes]], schema: pa.Schema
) -> list[tuple[list[tuple[int, bytes]], pa.RecordBatch | None]]:
    """Runs of lines with their batch; a line that Arrow refuses stands alone, with None."""
    if not lines:
        return []
    batch = _arrow(b"\n".join(line for _, line in lines) + b"\n", schema)
    if batch is not None and batch.num_rows == len(lines):
        return [(lines, batch)]
    if len(lines) == 1:
        return [(lines, None)]
    middle = len(lines) // 2
    return _arrow_parts(lines[:middle], schema) + _arrow_parts(lines[middle:], schema)


def _complaint(line: bytes, checks: dict[str, Callable[[Any], str | None]]) -> str | None:
    """What is wrong with a line; None where nothing is, or where only Arrow can tell."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"expected UTF-8, found byte 0x{line[error.start]:02x} at byte {error.start}"
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"expected a JSON object, found text that is no JSON: {error}"
    if not isinstance(row, dict):
        return f"expected a JSON object, found {_kind(row)}"
    for key, value in row.items():
        if key not in checks:
            return f"expected the columns {', '.join(checks)}, found the key {key!r}"
        if value is not None and (wrong := checks[key](value)):
            return f"column {key!r}: {wrong}"
    return None


_KINDS: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    dict: "object",
    list: "array",
}


def _kind(value: Any) -> str:
    name = _KINDS.get(type(value), "null")
    shown = repr(value)
    return f"{name} {shown if len(shown) <= 40 else shown[:37] + '...'}"


def _check(field: pa.Field) -> Callable[[Any], str | None]:
    """A quick test of values for the common types; other types pass, and Arrow decides."""
    kind = field.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        wanted: tuple[type, ...] = (str,)
    elif pa.types.is_boolean(kind):
        wanted = (bool,)
    elif pa.types.is_integer(kind):
        wanted = (int,)
    elif pa.types.is_floating(kind):
        wanted = (int, float)
    elif pa.types.is_struct(kind):
        wanted = (dict,)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        wanted = (list,)
    elif pa.types.is_null(kind):
        wanted = ()
    else:
        return lambda value: None
    return lambda value: None if type(value) in wanted else f"expected {kind}, found {_kind(value)}"


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
