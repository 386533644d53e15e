"""Record batches as JSON lines.

Values for which JSON has no type: binary becomes a base64 string, decimals a string of their
digits, timestamps, dates and times a string in ISO 8601 (nanoseconds and time zone kept), durations
an integer of their unit, NaN and infinities null, maps a list of objects with key and value.
"""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc


def dump_rows(batch: pa.RecordBatch) -> list[bytes]:
    """One JSON object a row, without newlines; columns in the batch's order."""
    plain = pa.RecordBatch.from_arrays(
        [_plain(column) for column in batch.columns], names=batch.schema.names
    )
    return [orjson.dumps(row, default=_word) for row in plain.to_pylist()]


def _word(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def not_utf8(column: pa.Array) -> dict[int, bytes]:
    """Strings of a column that are not UTF-8, by row; Arrow does not check them when it reads."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return {}
    try:
        column.validate(full=True)
        return {}
    except pa.ArrowInvalid:
        values = enumerate(_binary(column).to_pylist())
        return {row: value for row, value in values if value and not _decodes(value)}


def _binary(column: pa.Array) -> pa.Array:
    large = pa.types.is_large_string(column.type)
    return column.view(pa.large_binary() if large else pa.binary())


def _decodes(value: bytes) -> bool:
    return value.decode(errors="ignore").encode() == value


def _readable(column: pa.Array) -> pa.Array:
    """A string column with base64 in place of what is no UTF-8."""
    bad = not_utf8(column)
    if not bad:
        return column
    values = _binary(column).to_pylist()
    for row, value in bad.items():
        values[row] = base64.b64encode(value)
    return pa.array(values, pa.binary()).cast(pa.string())


def _plain(column: pa.Array) -> pa.Array:
    """The column with temporal types, at any depth, in a form that JSON can hold."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _readable(column)
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind) or pa.types.is_date(kind):
        text = pc.cast(column, pa.string())
        return pc.replace_substring(text, " ", "T") if pa.types.is_timestamp(kind) else text
    if pa.types.is_float32(kind):
        # By way of text: 0.3 stays 0.3, and does not become 0.30000001192092896.
        return pc.cast(pc.cast(column, pa.string()), pa.float64())
    if pa.types.is_duration(kind):
        return pc.cast(column, pa.int64())
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_struct(kind):
        fields = [_plain(column.field(index)) for index in range(kind.num_fields)]
        names = [kind.field(index).name for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays(fields, names, mask=column.is_null())
    if pa.types.is_map(kind):
        return _plain(column.cast(pa.list_(pa.struct([kind.key_field, kind.item_field]))))
    if pa.types.is_fixed_size_list(kind):
        return _plain(column.cast(pa.list_(kind.value_field)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        values = _plain(column.flatten())
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        large = pa.types.is_large_list(kind)
        array = pa.LargeListArray if large else pa.ListArray
        ends = pa.array(offsets, pa.int64() if large else pa.int32())
        return array.from_arrays(ends, values, mask=column.is_null())
    return column
