"""Where a row's text lies: in a column, or inside one, by a dotted path into structs and lists.

`doc.text` is the field `text` of the struct `doc`; `messages.0.content` the field of the first item
of a list, `messages.-1.content` of the last. A column that bears that very name goes first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

_INDEX = re.compile(r"-?\d{1,9}")


def root_of(names: Sequence[str], path: str) -> str | None:
    """The column that a path begins with, None where there is none; the longest name wins."""
    parts = path.split(".")
    heads = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((head for head in heads if head in names), None)


def steps(names: Sequence[str], path: str) -> tuple[str, ...]:
    """The steps of a path inside its column; none where the column itself is meant."""
    inside = path[len(root_of(names, path) or path) :]
    return tuple(inside.split(".")[1:])


def type_of(schema: pa.Schema, path: str) -> pa.DataType | None:
    """Type of what a path leads to, None where it leads nowhere."""
    root = root_of(schema.names, path)
    kind = None if root is None else schema.field(root).type
    for step in steps(schema.names, path):
        kind = None if kind is None else _step_type(kind, step)
    return kind


def explain(schema: pa.Schema, path: str) -> str:
    """Why a path leads nowhere: the first step that cannot be taken."""
    root = root_of(schema.names, path)
    if root is None:
        return "no such column"
    kind, at = schema.field(root).type, root
    for step in steps(schema.names, path):
        inside = _step_type(kind, step)
        if inside is None and pa.types.is_struct(kind):
            return f"no such column, since {at} has no field {step}: it holds {kind}"
        if inside is None and _is_list(kind):
            return f"no such column, since {at} is a list, whose items are 0, 1, ... or -1, ..."
        if inside is None:
            return f"no such column, since a path leads into structs and lists, and {at} is {kind}"
        kind, at = inside, f"{at}.{step}"
    return "no such column"


def _step_type(kind: pa.DataType, step: str) -> pa.DataType | None:
    if pa.types.is_struct(kind):
        index = kind.get_field_index(step)
        return None if index < 0 else kind.field(index).type
    return kind.value_type if _is_list(kind) and _INDEX.fullmatch(step) else None


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def is_string(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings (dictionary-encoded ones too)."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def is_text(kind: pa.DataType) -> bool:
    """Whether it holds texts: strings, JSON as text, or binary, which is UTF-8 or refused."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    kind = kind.storage_type if isinstance(kind, pa.JsonType) else kind
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return is_string(kind) or binary or kind == pa.binary_view()


def extract(batch: pa.RecordBatch, path: str) -> pa.Array:
    """The texts that a path leads to, as strings; null where it leads nowhere in a row.

    Bytes that are no UTF-8 stay as they are, for the reader to complain of.
    """
    names = batch.schema.names
    column = batch.column(root_of(names, path) or path)
    for step in steps(names, path):
        column = _step(column, step)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(column.type, pa.JsonType):
        column = column.storage
    if column.type in (pa.string_view(), pa.binary_view()):
        column = column.cast(pa.binary())
    if pa.types.is_large_binary(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary()).cast(pa.binary())
    return column.view(pa.string()) if pa.types.is_binary(column.type) else column


def _step(column: pa.Array, step: str) -> pa.Array:
    if pa.types.is_struct(column.type):
        return column.flatten()[column.type.get_field_index(step)]  # a null struct's is null
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    index, offsets = int(step), column.offsets.to_numpy().astype(np.int64)
    starts, stops = offsets[:-1], offsets[1:]
    at = starts + index if index >= 0 else stops + index
    null = column.is_null().to_numpy(zero_copy_only=False)
    outside = null | (at < starts) | (at >= stops)
    return column.values.take(pa.array(np.where(outside, 0, at), mask=outside))
