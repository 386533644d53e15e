"""Arrow's reader of JSON lines: fast, strict, and wrong about a few values."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from tango_beam.io.jsonl_schema import EXACT


def has_struct(kind: pa.DataType) -> bool:
    """Whether a type is a struct, or has one inside."""
    fields = (kind.field(index).type for index in range(kind.num_fields))
    return pa.types.is_struct(kind) or any(map(has_struct, fields))


def is_doubtful(column: pa.Array, exact: bool) -> bool:
    """Whether Arrow may have changed a value: rounded an integer, or made a missing field null.

    Args:
      column: as it was read.
      exact: a missing field is no null.
    """
    kind = column.type
    if pa.types.is_float64(kind):
        largest = pc.max(pc.abs(column)).as_py()
        return largest is not None and largest >= EXACT
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return is_doubtful(column.flatten(), exact)
    if pa.types.is_struct(kind):
        fields = column.filter(column.is_valid()).flatten()
        return any((exact and field.null_count) or is_doubtful(field, exact) for field in fields)
    return False


def read(data: bytes, schema: pa.Schema, unexpected: str = "error") -> pa.RecordBatch | None:
    """The rows that Arrow reads, in one batch; None if it refuses any.

    Args:
      data: lines.
      schema: of the columns.
      unexpected: what it does at a key that is in no column: `error` or `ignore`.
    """
    if not len(schema):
        return None
    try:
        table = pa.json.read_json(
            pa.BufferReader(data),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pa.json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior=unexpected
            ),
        )
        table.validate(full=True)  # Arrow checks UTF-8 only here
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, UnicodeDecodeError):
        return None
    batches = table.select(schema.names).combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema)
