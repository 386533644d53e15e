"""Lines of JSON to columns of a fixed type; what a column cannot hold stands in `_extra`.

Arrow reads whole blocks, and is as strict as it must be: strings stay strings, unknown keys and
other types are refused. A block that it refuses, or whose values it may have changed, is taken
apart line by line, and Arrow reads what is left for the typed columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from tango_beam.arrays import Int64
from tango_beam.io import json_objects, jsonl_arrow, jsonl_misfits
from tango_beam.io.json_objects import BOM
from tango_beam.io.jsonl_misfits import Parsed
from tango_beam.io.planned import LineColumns

# Arrow reads these as numbers; Python only the whole word.
_NOT_JSON = (b"Inf", b"-NaN")


def parse(
    data: bytes, offset: int, lines: LineColumns, schema: pa.Schema, texts: Sequence[str]
) -> Parsed:
    """Parses whole lines. Blank lines are no rows.

    Args:
      data: lines, each with its newline; the last may lack it.
      offset: where they begin in the file.
      lines: how they become columns.
      schema: of the columns, in order.
      texts: text columns, or paths into columns.
    """
    if offset == 0 and data.startswith(BOM):
        data, offset = data[len(BOM) :], len(BOM)
    starts = _filled_lines(data)
    batch = _whole_block(data, starts, lines) if _one_object_a_line(data, starts) else None
    if batch is None:
        return jsonl_misfits.parse(data, offset, lines, schema, texts)
    nulls = partial(pa.nulls, batch.num_rows)
    arrays = [
        batch.column(field.name) if field.name in lines.typed.names else nulls(field.type)
        for field in schema
    ]
    return Parsed(pa.RecordBatch.from_arrays(arrays, schema=schema), starts + offset, [])


def _filled_lines(data: bytes) -> Int64:
    """Where lines begin that are not empty, as most are between the items of an array."""
    starts = json_objects.line_starts(data)
    return starts[np.frombuffer(data, np.uint8)[starts] != ord("\n")]


def _one_object_a_line(data: bytes, starts: Int64) -> bool:
    """Whether each line begins with { and ends with }.

    No JSON value goes on between } and {, so each such line holds whole values. If Arrow then reads
    one row for each line, each line holds exactly one.
    """
    if not len(starts) or any(word in data for word in _NOT_JSON):
        return False
    codes = np.frombuffer(data, np.uint8)
    breaks = np.append(np.flatnonzero(codes == ord("\n")), len(data))
    stops = breaks[np.searchsorted(breaks, starts)]
    ends = np.where(codes[stops - 1] == ord("\r"), stops - 2, stops - 1)
    long_enough = (ends > starts).all()
    return bool(
        long_enough and (codes[starts] == ord("{")).all() and (codes[ends] == ord("}")).all()
    )


def _whole_block(data: bytes, starts: Int64, lines: LineColumns) -> pa.RecordBatch | None:
    """The typed columns, if nothing else is in the lines that is asked for; else None."""
    nested = any(jsonl_arrow.has_struct(field.type) for field in lines.typed)
    if lines.unknown == "drop" and (nested or lines.as_json):
        return None  # Arrow would pass over unknown fields of a struct as well
    nulls = [pa.field(name, pa.null()) for name in lines.as_json]
    schema = pa.schema([*lines.typed, *nulls])
    batch = jsonl_arrow.read(data, schema, "ignore" if lines.unknown == "drop" else "error")
    if batch is None or batch.num_rows != len(starts):
        return None
    return (
        None
        if any(jsonl_arrow.is_doubtful(column, lines.exact) for column in batch.columns)
        else batch
    )
