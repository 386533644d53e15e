"""Which columns lines of JSON have: decided once, at launch, from a sample or a stated schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tango_beam import text_columns
from tango_beam.errors import RefusedError
from tango_beam.io import json_objects
from tango_beam.io.format import TEXT_OPTIONS, Asked
from tango_beam.io.jsonl_schema import Inferred, infer
from tango_beam.io.planned import LineColumns

# Where keys are data (an object for each user, say), a column for each would be no table.
MOST_COLUMNS = 1000


@dataclass(frozen=True)
class Columns:
    """What was decided.

    Attributes:
      schema: the columns that pass through.
      lines: how a line becomes columns.
      notes: what passes through in another form, a line each.
    """

    schema: pa.Schema
    lines: LineColumns
    notes: tuple[str, ...] = ()


def choose(rows: Sequence[Mapping[str, Any]], asked: Asked, path: str) -> Columns:
    """Decides for files of JSON lines.

    Args:
      rows: a sample.
      asked: for which columns, and what becomes of the rest.
      path: the first file, for messages.

    Raises:
      RefusedError: a column that is asked for is not there, or holds no texts.
    """
    if asked.schema is not None:
        known = {field.name: Inferred(field.type) for field in asked.schema}
    else:
        known = infer(_with_usual_keys(rows))
    names = asked.choose([*known], path)
    chosen = {name: known[name] for name in names}
    if asked.schema is not None:
        asked.check(asked.schema, path)
    else:
        for option, text in zip(TEXT_OPTIONS, asked.texts, strict=False):
            found = _text(option, text, rows, known, path)
            chosen |= {text: found} if text in chosen else {}
    if asked.own_lines:
        return _own(asked, names)
    types = {name: one.kind for name, one in chosen.items()}
    typed = pa.schema([(name, kind) for name, kind in types.items() if kind is not None])
    keep, others = asked.unknown_keys == "keep", {*typed.names} - {*asked.texts}
    extra = None
    if asked.output is not None:
        extra = asked.output.extra if keep and (asked.columns is None or others) else None
        asked.output.refuse(names, *([extra] if extra else []))
    lines = LineColumns(
        typed,
        tuple(name for name, kind in types.items() if kind is None),
        extra=extra,
        unknown=asked.unknown_keys if asked.columns is None else "drop",
        misfits=asked.unknown_keys,
        exact=asked.schema is None,
    )
    fields = [(name, pa.string() if kind is None else kind) for name, kind in types.items()]
    schema = pa.schema([*fields, *([(extra, pa.string())] if extra else [])])
    reasons = {name: one.reason for name, one in chosen.items() if one.kind is None}
    notes = (f"column {name}: JSON text, since {reason}" for name, reason in reasons.items())
    return Columns(schema, lines, tuple(notes))


def _with_usual_keys(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows without keys that make no column: rare ones among too many, or no UTF-8."""
    counts = Counter(key for row in rows for key in row)
    usual = {key for key, _ in counts.most_common(MOST_COLUMNS) if json_objects.encodes(key)}
    return [{key: value for key, value in row.items() if key in usual} for row in rows]


def _own(asked: Asked, names: Sequence[str]) -> Columns:
    """Lines that pass through: `names` stay, where not all of them do."""
    reserved: tuple[str, ...] = ()
    if asked.output is not None:
        asked.output.refuse(names)
        reserved = tuple(asked.output.added().names)
    every = asked.columns is None and asked.unknown_keys == "keep"
    unknown = "drop" if asked.columns is not None else asked.unknown_keys
    kept = None if every else tuple(name for name in names if name not in asked.outside)
    lines = LineColumns(
        pa.schema([]),
        unknown=unknown,
        own=True,
        kept=kept,
        reserved=reserved,
        replaced=asked.outside,
    )
    notes = (
        f"column {name}: as the folders say; what the lines say is left out"
        for name in names
        if name in asked.outside
    )
    return Columns(pa.schema([]), lines, tuple(notes))


def _text(
    option: str, path: str, rows: Sequence[Mapping[str, Any]], known: Mapping[str, Any], file: str
) -> Inferred:
    """Checks that a path leads to a text in some row; the column of texts is one of strings."""
    shown = ", ".join(f"{name} ({one.kind or 'JSON'})" for name, one in known.items())
    root = text_columns.root_of([*known], path)
    if root is None:
        raise RefusedError(f"{option} {path}: no such column in {file}; found {shown}")
    steps = text_columns.steps([*known], path)
    found = [json_objects.at(row.get(root), steps) for row in rows]
    if not any(type(value) is str for value in found):
        other = next((value for value in found if value is not None), None)
        raise RefusedError(
            f"{option} {path}: expected a column of texts in {file}, found "
            f"{json_objects.shown(other)}; the columns are {shown}"
        )
    return Inferred(pa.string())
