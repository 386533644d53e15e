"""Columns written into lines of JSON that pass through, as one buffer: no Python object a row."""

from __future__ import annotations

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.io.json_values import dump_values

# Whole numbers below are written without an exponent.
_NO_EXPONENT = 1e6


def add_columns(lines: pa.Array, batch: pa.RecordBatch) -> pa.Buffer:
    """Lines with the columns of a batch behind their own members, each with a newline.

    Args:
      lines: binary, shape [rows], without nulls; each an object of at least one member.
      batch: the columns to add, at least one, shape [rows].

    Returns:
      UTF-8, as long as all lines together.
    """
    text = pc.utf8_rtrim(lines.view(pa.string()), " \t\r\n")
    parts = [pc.binary_slice(text.view(pa.binary()), 0, -1)]
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        parts += [b"," + orjson.dumps(name) + b":", _values(column)]
    joined = pc.binary_join_element_wise(*parts, b"}\n", b"")
    offsets, data = joined.buffers()[1:]
    ends = memoryview(offsets).cast("i")
    return data.slice(ends[joined.offset], ends[joined.offset + len(joined)] - ends[joined.offset])


def _values(column: pa.Array) -> pa.Array:
    """A column's values as JSON, binary, without nulls."""
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        text = column.cast(pa.string())
    elif pa.types.is_floating(kind):
        text = _numbers(column)
    elif pa.types.is_string(kind):
        words = column.dictionary_encode()
        written = pa.array(dump_values(words.dictionary), pa.binary())
        return pc.fill_null(written.take(words.indices), b"null")
    else:
        return pa.array(dump_values(column), pa.binary())
    return pc.fill_null(text, "null").cast(pa.binary())


def _numbers(column: pa.Array) -> pa.Array:
    """Numbers as JSON has them, null for those that it has not; 1 as 1.0, so that they stay one."""
    text = pc.if_else(pc.is_finite(column), column.cast(pa.string()), None)
    whole = pc.and_(pc.equal(column, pc.trunc(column)), pc.less(pc.abs(column), _NO_EXPONENT))
    if pc.any(whole).as_py():
        return pc.if_else(whole, pc.binary_join_element_wise(text, ".0", ""), text)
    return text
