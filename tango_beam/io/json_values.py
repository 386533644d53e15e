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

from tango_beam.arrays import Bool, Int64


def dump_rows(batch: pa.RecordBatch) -> list[bytes]:
    """One JSON object a row, without newlines; columns in the batch's order."""
    plain = pa.RecordBatch.from_arrays(
        [_plain(column) for column in batch.columns], names=batch.schema.names
    )
    return [orjson.dumps(row, default=_word) for row in plain.to_pylist()]


def dump_values(column: pa.Array) -> list[bytes]:
    """The values of a column, each as JSON."""
    return [orjson.dumps(value, default=_word) for value in _plain(column).to_pylist()]


def _word(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def not_utf8(column: pa.Array) -> Int64:
    """Rows with a string, at any depth, that is no UTF-8; Arrow does not check what it reads."""
    if not _has_strings(column.type):
        return np.zeros(0, np.int64)
    try:
        column.validate(full=True)
        return np.zeros(0, np.int64)
    except pa.ArrowInvalid:
        return np.flatnonzero(_invalid(column))


def _has_strings(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _has_strings(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _has_strings(kind.value_type)
    inside = (kind.field(index).type for index in range(kind.num_fields))
    return _is_string(kind) or any(map(_has_strings, inside))


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _invalid(column: pa.Array) -> Bool:
    """Whether each row holds a string that is no UTF-8."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _invalid(column.storage)
    if pa.types.is_dictionary(kind):
        values = np.append(_invalid(column.dictionary), False)
        return values[pc.fill_null(column.indices.cast(pa.int64()), -1).to_numpy()]
    if _is_string(kind):
        values = column.cast(pa.large_binary()).to_pylist()
        return np.array([value is not None and not _decodes(value) for value in values], bool)
    if pa.types.is_struct(kind):
        fields = (column.field(index) for index in range(kind.num_fields))
        bad = np.logical_or.reduce([_invalid(field) for field in fields])
        return bad & column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_map(kind):
        return _invalid(column.cast(pa.list_(pa.struct([kind.key_field, kind.item_field]))))
    if not kind.num_fields:
        return np.zeros(len(column), bool)
    # Lists of any kind: a list is bad where one of its values is.
    before = np.append(0, np.cumsum(_invalid(column.flatten())))
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    return before[ends] > before[ends - lengths]


def _binary(column: pa.Array) -> pa.Array:
    large = pa.types.is_large_string(column.type)
    return column.view(pa.large_binary() if large else pa.binary())


def _decodes(value: bytes) -> bool:
    return value.decode(errors="ignore").encode() == value


def _readable(column: pa.Array) -> pa.Array:
    """A string column with base64 in place of what is no UTF-8."""
    bad = not_utf8(column)
    if not len(bad):
        return column
    values = _binary(column).to_pylist()
    for row in bad:
        values[row] = base64.b64encode(values[row])
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
    if pa.types.is_dictionary(kind) or isinstance(kind, pa.JsonType):
        is_json = isinstance(kind, pa.JsonType)
        return _plain(column.storage if is_json else column.dictionary_decode())
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
