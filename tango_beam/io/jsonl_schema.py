"""The schema of JSON lines: read off a sample of rows, or stated in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tango_beam.errors import RefusedError


def infer_schema(rows: Sequence[dict[str, Any]]) -> pa.Schema:
    """Schema of JSON objects: every key, in order of first sight, with its most frequent kind.

    Strings stay strings. Integers and fractions together are float64, integers past 64 bits too. A
    key that is null throughout has type null. Rows of another kind become dead letters when read.
    """
    values: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.items():
            values.setdefault(key, [])
            if value is not None:
                values[key].append(value)
    return pa.schema([(key, _infer_type(column)) for key, column in values.items()])


def _infer_type(column: list[Any]) -> pa.DataType:
    groups: dict[type, list[Any]] = {}
    for value in column:
        groups.setdefault(float if type(value) is int else type(value), []).append(value)
    if not groups:
        return pa.null()
    kind, largest = max(groups.items(), key=lambda item: len(item[1]))
    if kind is str:
        return pa.string()
    if kind is bool:
        return pa.bool_()
    if kind is float:
        whole = all(type(value) is int and -(2**63) <= value < 2**63 for value in largest)
        return pa.int64() if whole else pa.float64()
    if kind is list:
        return pa.list_(
            _infer_type([item for value in largest for item in value if item is not None])
        )
    return pa.struct(infer_schema(largest))


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
