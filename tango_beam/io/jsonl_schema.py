"""The schema of JSON lines: read off a sample of rows, or stated in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tango_beam.errors import RefusedError
from tango_beam.io.json_objects import encodes

# Integers that a double holds exactly, each of them.
EXACT = 1 << 53


@dataclass(frozen=True)
class Inferred:
    """What a sample of objects says of one key: a type that holds every value exactly, or why not.

    Attributes:
      kind: None where the values pass through as JSON text.
      reason: for the user, where there is no type.
    """

    kind: pa.DataType | None
    reason: str = ""


def infer(rows: Sequence[Mapping[str, Any]]) -> dict[str, Inferred]:
    """What a sample says of each key, in order of first sight.

    Strings stay strings, and a number keeps its value: integers are int64 or uint64, and float64
    beside fractions where a double holds each of them exactly. Nulls go with every type.
    """
    values: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.items():
            values.setdefault(key, []).append(value)
    return {key: _infer(column) for key, column in values.items()}


def _infer(column: Sequence[Any]) -> Inferred:
    present = [value for value in column if value is not None]
    kinds = {float if type(value) is int else type(value) for value in present}
    if len(kinds) != 1:
        return Inferred(None, "its values are of several kinds" if kinds else "its values are null")
    (kind,) = kinds
    if kind is float:
        return _infer_number(present)
    if kind is list:
        inner = _infer([item for value in present for item in value])
        return inner if inner.kind is None else Inferred(pa.list_(inner.kind))
    if kind is dict:
        return _infer_struct(present)
    return Inferred(pa.bool_() if kind is bool else pa.string())


def _infer_number(values: Sequence[int | float]) -> Inferred:
    integers = [value for value in values if type(value) is int]
    least, most = min(integers, default=0), max(integers, default=0)
    if len(integers) < len(values):
        if least >= -EXACT and most <= EXACT:
            return Inferred(pa.float64())
        return Inferred(None, "a double does not hold all of its integers")
    if least >= -(1 << 63) and most < 1 << 63:
        return Inferred(pa.int64())
    if least >= 0 and most < 1 << 64:
        return Inferred(pa.uint64())
    return Inferred(None, "64 bits do not hold all of its integers")


def _infer_struct(values: Sequence[Mapping[str, Any]]) -> Inferred:
    if any(value.keys() != values[0].keys() for value in values):
        return Inferred(None, "its objects have changing fields")
    fields = infer(values)
    reasons = [f"field {name}: {found.reason}" for name, found in fields.items() if found.reason]
    if reasons or not fields:
        return Inferred(None, reasons[0] if reasons else "its objects are empty")
    return Inferred(pa.struct([(name, found.kind) for name, found in fields.items()]))


def holds(kind: pa.DataType, value: Any, exact: bool) -> bool:
    """Whether a column of a type holds a value unchanged.

    Says yes to types that JSON has no word for (timestamps, decimals), which only a stated schema
    has; Arrow decides of them.

    Args:
      kind: of the column.
      value: as Python reads it.
      exact: a struct has all of its fields; else one that is missing is null.
    """
    if value is None:
        return True
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return type(value) is str and (value.isascii() or encodes(value))
    if pa.types.is_boolean(kind):
        return type(value) is bool
    if pa.types.is_integer(kind):
        size, signed = kind.bit_width, pa.types.is_signed_integer(kind)
        least, most = (-(1 << size - 1), 1 << size - 1) if signed else (0, 1 << size)
        return type(value) is int and least <= value < most
    if pa.types.is_floating(kind):
        return type(value) is float or (type(value) is int and abs(value) <= EXACT)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_type
        return type(value) is list and all(holds(inner, item, exact) for item in value)
    if pa.types.is_struct(kind):
        names = {field.name for field in kind}
        if (
            type(value) is not dict
            or not names >= value.keys()
            or (exact and len(value) < len(names))
        ):
            return False
        return all(holds(kind.field(key).type, inner, exact) for key, inner in value.items())
    return not pa.types.is_null(kind)


def read_schema(path: str) -> pa.Schema:
    """Reads a JSON object of column names and types, nested ones as objects and lists.

    `{"text": "string", "id": "int64", "tags": ["string"], "meta": {"stars": "float32"}}`

    Raises:
      RefusedError: not such an object, or a type that Arrow does not know by that name.
    """
    try:
        stored = json.loads(Path(path).read_text())
        if not isinstance(stored, dict):
            raise ValueError(f"found {type(stored).__name__}")
        return pa.schema([(name, _type(kind)) for name, kind in stored.items()])
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise RefusedError(
            f"--schema {path}: expected a JSON object of column names and Arrow types, {error}"
        ) from error


def _type(kind: Any) -> pa.DataType:
    if isinstance(kind, dict):
        return pa.struct([(name, _type(inner)) for name, inner in kind.items()])
    if isinstance(kind, list):
        return pa.list_(_type(kind[0]))
    return pa.type_for_alias(kind)
