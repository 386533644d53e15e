"""Lines of JSON taken apart one by one, where a whole block does not fit its columns.

A key that no column bears, a value that its column cannot hold and a key that stands twice go to
the column of what is left over, as they stand. Only a line without a readable text is no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from tango_beam import record_columns, text_columns
from tango_beam.arrays import Int64
from tango_beam.io import json_objects, jsonl_arrow
from tango_beam.io.format import BadLine
from tango_beam.io.json_objects import LineError
from tango_beam.io.jsonl_schema import holds
from tango_beam.io.planned import LineColumns


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


def parse(
    data: bytes, offset: int, columns: LineColumns, schema: pa.Schema, texts: Sequence[str]
) -> Parsed:
    """Parses whole lines. Blank lines are no rows.

    Args:
      data: lines, without a mark at their beginning.
      offset: where they begin in the file.
      columns: how they become columns.
      schema: of the columns, in order.
      texts: text columns, or paths into columns.
    """
    starts, lines = json_objects.split(data)
    block = _Block(columns, tuple(texts))
    rows = [
        row
        for start, line in zip((starts + offset).tolist(), lines, strict=True)
        if (row := block.guarded(_Row(start, line), block.take_apart))
    ]
    rows, typed = block.read(rows)
    arrays = {name: typed.column(name) for name in typed.schema.names}
    for name in columns.as_json:
        arrays[name] = _strings([row.as_json.get(name) for row in rows])
    if columns.extra is not None:
        left = [json_objects.join(row.other) if row.other else None for row in rows]
        arrays[columns.extra] = _strings(left)
    ordered = {name: arrays[name] for name in schema.names}
    for hidden, path in zip(record_columns.TEXTS, texts, strict=False):
        if path not in columns.typed.names:
            ordered[hidden] = pa.array([row.texts[path] for row in rows], pa.string())
    batch = pa.RecordBatch.from_pydict(ordered)
    bad = sorted(block.bad, key=lambda line: line.offset)
    return Parsed(batch, np.array([row.offset for row in rows], np.int64), bad)


def _strings(raws: list[Any]) -> pa.Array:
    """JSON text, null for null, so that a null is one in every column."""
    texts = [None if raw is None or bytes(raw) == b"null" else bytes(raw) for raw in raws]
    return pa.array(texts, pa.binary()).view(pa.string())


@dataclass
class _Row:
    """One line, taken apart.

    Attributes:
      offset: of its first byte in the file.
      line: its bytes.
      typed: values for the typed columns, as they are written.
      as_json: values of the columns of JSON text.
      other: members that have no other place.
      texts: by path, those that are no column of their own.
    """

    offset: int
    line: bytes
    typed: dict[str, Any] = field(default_factory=dict)
    as_json: dict[str, Any] = field(default_factory=dict)
    other: list[tuple[str, Any]] = field(default_factory=list)
    texts: dict[str, str | None] = field(default_factory=dict)


class _Block:
    """Takes the lines of a block apart, and keeps those that are no rows."""

    def __init__(self, columns: LineColumns, texts: tuple[str, ...]) -> None:
        self._columns, self._texts = columns, texts
        self._types = {entry.name: entry.type for entry in columns.typed}
        self._as_json = frozenset(columns.as_json)
        self.bad: list[BadLine] = []

    def guarded(self, row: _Row, work: Any) -> _Row | None:
        """The row after some work on it, or None for one that is no row."""
        try:
            work(row)
        except LineError as error:
            self.bad.append(BadLine(row.offset, row.line, str(error)))
            return None
        return row

    def take_apart(self, row: _Row) -> None:
        """Parts a line's members by where they go."""
        found, repeated = json_objects.members(row.line)
        unknown = self._columns.unknown
        for key, raw in found.items():
            if key in self._types:
                row.typed[key] = raw
            elif key in self._as_json:
                row.as_json[key] = raw
            elif unknown == "keep":
                row.other.append((key, raw))
            elif unknown == "dead":
                names = ", ".join([*self._types, *self._as_json])
                raise LineError(f"expected the columns {names}, found the key {key!r}")
        for key, raw in repeated:
            self._leave_over(row, key, raw, "expected a key once, found it twice")
        for path in self._texts:
            if path not in self._types:
                row.texts[path] = text_at(found, path)

    def _leave_over(self, row: _Row, key: str, raw: Any, wrong: str) -> None:
        """Puts a member among what is left over."""
        misfits = self._columns.misfits
        if key in self._texts or misfits == "dead":
            raise LineError(f"column {key!r}: {wrong}")
        if misfits == "keep" and (self._columns.unknown == "keep" or key in self._known):
            row.other.append((key, raw))

    @property
    def _known(self) -> frozenset[str]:
        return self._as_json | self._types.keys()

    def _set_misfits_apart(self, row: _Row) -> None:
        """Leaves over what the typed columns cannot hold, as Python reads it."""
        for key, raw in list(row.typed.items()):
            value = json_objects.load(raw)
            if not holds(self._types[key], value, self._columns.exact):
                self._misfit(row, key)

    def _misfit(self, row: _Row, key: str) -> None:
        raw = row.typed.pop(key)
        wanted = "a text" if key in self._texts else self._types[key]
        found = json_objects.shown(json_objects.load(raw))
        self._leave_over(row, key, raw, f"expected {wanted}, found {found}")

    def read(self, rows: list[_Row]) -> tuple[list[_Row], pa.RecordBatch]:
        """The rows that stay, with their typed columns."""
        empty = pa.RecordBatch.from_pylist([], self._columns.typed)
        if not self._types:
            return rows, empty
        batch = self._arrow(rows)
        doubtful = batch is None or any(
            jsonl_arrow.is_doubtful(column, self._columns.exact) for column in batch.columns
        )
        if not doubtful:
            return rows, batch
        rows = [row for row in rows if self.guarded(row, self._set_misfits_apart)]
        runs = list(self._runs(rows))
        kept = [row for run, _ in runs for row in run]
        return kept, pa.concat_batches([empty, *(batch for _, batch in runs)])

    def _arrow(self, rows: list[_Row]) -> pa.RecordBatch | None:
        """The typed columns of some rows; None if Arrow refuses any."""
        objects = b"\n".join(json_objects.join([*row.typed.items()]) for row in rows) + b"\n"
        batch = jsonl_arrow.read(objects, self._columns.typed)
        return batch if batch is not None and batch.num_rows == len(rows) else None

    def _runs(self, rows: list[_Row]) -> Any:
        """Runs of rows that Arrow reads at once; of one that it refuses alone, what it reads."""
        batch = self._arrow(rows) if rows else None
        if batch is not None:
            yield rows, batch
        elif len(rows) == 1:
            if self.guarded(rows[0], self._set_refused_apart):
                yield rows, self._arrow(rows)
        elif rows:
            yield from self._runs(rows[: len(rows) // 2])
            yield from self._runs(rows[len(rows) // 2 :])

    def _set_refused_apart(self, row: _Row) -> None:
        """Leaves over what Arrow cannot read: a date that is none, a field that stands twice."""
        for key, raw in list(row.typed.items()):
            schema = pa.schema([(key, self._types[key])])
            if jsonl_arrow.read(json_objects.join([(key, raw)]), schema) is None:
                self._misfit(row, key)


def text_at(found: Any, path: str) -> str | None:
    """The text that a path leads to in an object, None where it leads nowhere.

    Raises:
      LineError: it leads to something that is no text.
    """
    root = text_columns.root_of(found, path)
    value = json_objects.load(found[root]) if root is not None else None
    value = json_objects.at(value, text_columns.steps(found, path))
    if value is not None and (type(value) is not str or not json_objects.encodes(value)):
        raise LineError(f"column {path!r}: expected a text, found {json_objects.shown(value)}")
    return value
