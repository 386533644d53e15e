"""The column contract: what comes in, what goes out, and what travels hidden in between.

Hidden columns begin with `__tango_`; they ride along as ordinary Arrow columns, so that batches can
be cut, joined, filtered and shuffled without losing them, and are dropped before anything is
written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError

HIDDEN = "__tango_"
POSITION = HIDDEN + "position"
TOKENS = HIDDEN + "tokens_"
# Texts that are no column of their own, the first and the second of a pair; lines of JSON as read.
TEXTS = (HIDDEN + "text", HIDDEN + "text_pair")
LINE = HIDDEN + "line"
COST = HIDDEN + "cost_"
TAKEN = ("calls", "tokens_in", "tokens_out")  # in such a column, of a tier that is an endpoint
HELD_ANSWER = HIDDEN + "audit"  # of an earlier tier, while the last tier is asked too
LAST_ANSWER = HIDDEN + "last"  # what the last tier said to it
PARCEL = HIDDEN + "parcel"
TIME = HIDDEN + "time"  # each row's timestamp, where rows of several share a batch
RAW = HIDDEN + "raw"  # the record of a dead row, as bytes

# Where a row came from and which attempt at which checkpoint reads it. `row` is the row in its row
# group (Parquet) or the byte offset of its line (JSONL, uncompressed; row_group is -1).
POSITION_TYPE = pa.struct(
    [
        ("checkpoint", pa.int64()),
        ("attempt", pa.int64()),
        ("file", pa.int32()),
        ("row_group", pa.int32()),
        ("row", pa.int64()),
    ]
)

# Rows that cross a shuffle together, and which arrival of them this is: a runner that runs the far
# side again delivers the same parcel twice. `rows` is what the parcel held when it was sent.
PARCEL_TYPE = pa.struct([("parcel", pa.int64()), ("delivery", pa.int64()), ("rows", pa.int64())])

FIRST_ANSWER_NAMES = ("first_tier_prediction", "first_tier_confidence", "threshold")


@dataclass(frozen=True)
class AnswerShape:
    """Which columns an answer has.

    Attributes:
      prediction: type of the answer itself.
      more: what belongs to it, as columns of their own; they stand behind it.
      scores: type of what `--scores` adds.
    """

    prediction: pa.DataType = field(default_factory=pa.string)
    more: tuple[pa.Field, ...] = ()
    scores: pa.DataType = field(default_factory=lambda: pa.struct([]))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the answer's columns."""
        return ("prediction", *(one.name for one in self.more))

    def fields(self) -> list[pa.Field]:
        """The columns that are always added, in order."""
        return [
            pa.field("prediction", self.prediction),
            *self.more,
            pa.field("confidence", pa.float32()),
            pa.field("tier", pa.int8()),
            pa.field("first_tier_prediction", self.prediction),
            pa.field("first_tier_confidence", pa.float32()),
            pa.field("threshold", pa.float32()),
            pa.field("route", pa.string()),
            pa.field("truncated", pa.bool_()),
            pa.field("cascade", pa.string()),
        ]


SOURCE_FIELDS = (
    pa.field("source_file", pa.string()),
    pa.field("source_row_group", pa.int32()),
    pa.field("source_row", pa.int64()),
)

FAILURE_FIELDS = (
    pa.field(HIDDEN + "stage", pa.string()),
    pa.field(HIDDEN + "error", pa.string()),
)
STAGE, ERROR = (one.name for one in FAILURE_FIELDS)

DEAD_LETTER_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row_group", pa.int32()),
        ("row", pa.int64()),
        ("offset", pa.int64()),
        ("stage", pa.string()),
        ("error", pa.string()),
        ("raw", pa.string()),
        ("raw_encoding", pa.string()),
        ("raw_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True)
class OutputColumns:
    """Which columns are read and which are added to them.

    Attributes:
      text_columns: one, or two for pairs.
      prefix: goes before the names of the columns that are added.
      scores: adds every label's probability.
      source: adds each row's file and position.
      costs: each row's seconds, tokens and operations travel along as hidden columns.
      answer: which columns an answer has.
    """

    text_columns: tuple[str, ...] = ("text",)
    prefix: str = ""
    scores: bool = False
    source: bool = False
    costs: bool = False
    answer: AnswerShape = AnswerShape()

    def added(self) -> pa.Schema:
        """The columns that are added, in order."""
        fields = self.answer.fields()
        if self.scores:
            fields.append(pa.field("scores", self.answer.scores))
        fields += SOURCE_FIELDS if self.source else ()
        return pa.schema([one.with_name(self.prefix + one.name) for one in fields])

    def schema(self, input_schema: pa.Schema) -> pa.Schema:
        """Schema of the output: the columns that pass through, then those that are added.

        Raises:
          RefusedError: an input column bears the name of one that is added; says how to rename it.
        """
        self.refuse(input_schema.names)
        return pa.schema([*input_schema, *self.added()])

    @property
    def extra(self) -> str:
        """Name of the column for what of a JSON line has no other place."""
        return f"{self.prefix}_extra"

    def refuse(self, names: Sequence[str], *more: str) -> None:
        """Refuses input columns that bear the name of one that is added.

        Args:
          names: of the input's columns.
          more: names that are added besides.

        Raises:
          RefusedError: says how to rename it.
        """
        added = [*self.added().names, *more]
        clashes = [name for name in names if name in added or name.startswith(HIDDEN)]
        if clashes:
            raise RefusedError(self._complaint(clashes, added))

    def _complaint(self, clashes: Sequence[str], added: Sequence[str]) -> str:
        if self.prefix and not clashes[0].startswith(HIDDEN):
            return (
                f"--answer_prefix {self.prefix}: expected new names, found {sorted(clashes)} "
                "among the input's columns"
            )
        return (
            f"input columns {', '.join(clashes)}: expected none that bears the name of a column "
            f"that the output adds ({', '.join(sorted(added))}); give the added ones a prefix with "
            "--answer_prefix, or leave the input's out with --columns"
        )


def row_groups(position: pa.StructArray) -> pa.Array:
    """Row groups of positions, int32, null where a file has none."""
    group = position.field("row_group")
    return pc.if_else(pc.less(group, 0), pa.scalar(None, pa.int32()), group)


def visible(names: Sequence[str]) -> list[str]:
    """The names that are not hidden."""
    return [name for name in names if not name.startswith(HIDDEN)]


def append(batch: pa.RecordBatch, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """A record batch with more columns at its end, built in one go."""
    return pa.RecordBatch.from_arrays(
        [*batch.columns, *columns.values()], names=[*batch.schema.names, *columns]
    )


def drop(batch: pa.RecordBatch, *prefixes: str) -> pa.RecordBatch:
    """A record batch without the columns whose names begin with one of the prefixes."""
    return batch.select([name for name in batch.schema.names if not name.startswith(prefixes)])


def positions(
    checkpoint: int,
    attempt: int,
    file: int,
    row_group: int,
    rows: Int64,
) -> pa.StructArray:
    """The position column for rows of one file."""
    count = len(rows)
    columns = [
        pa.array(np.full(count, checkpoint, np.int64)),
        pa.array(np.full(count, attempt, np.int64)),
        pa.array(np.full(count, file, np.int32)),
        pa.array(np.full(count, row_group, np.int32)),
        pa.array(rows),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(POSITION_TYPE))


class Origin(NamedTuple):
    """What rows are accounted for under: one attempt at a checkpoint, or one delivery of a parcel.

    Attributes:
      checkpoint: its number (see `io.plan`).
      attempt: random, 63 bits.
      parcel: random, 63 bits; 0 for rows that crossed no shuffle.
      delivery: random, 63 bits; 0 for those.
      parcel_rows: rows that the parcel held when it was sent.
    """

    checkpoint: int
    attempt: int
    parcel: int = 0
    delivery: int = 0
    parcel_rows: int = 0


def by_origin(batch: pa.RecordBatch) -> Iterator[tuple[Origin, pa.RecordBatch]]:
    """Parts a batch with positions by origin; most hold one only. An empty batch has none."""
    if not batch.num_rows:
        return
    position = batch.column(POSITION)
    sent = batch.column(PARCEL) if PARCEL in batch.schema.names else None
    columns = [position.field("checkpoint"), position.field("attempt")]
    columns += [] if sent is None else [sent.field(field.name) for field in PARCEL_TYPE]
    numbers = [column.to_numpy() for column in columns]
    keys = numbers[1] if sent is None else numbers[3]  # each random number says it all
    _, firsts, which = np.unique(keys, return_index=True, return_inverse=True)
    for index, first in enumerate(firsts):
        rows = batch
        if len(firsts) > 1:
            rows = batch.take(pa.array(np.flatnonzero(which == index)))
        yield Origin(*(int(column[first]) for column in numbers)), rows


def by_time(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Parts a batch with `TIME` by it: microseconds, and the rows without that column."""
    micros = batch.column(TIME).to_numpy()
    order = np.argsort(micros, kind="stable")
    rows = drop(batch, TIME)
    for part in np.split(order, np.flatnonzero(np.diff(micros[order])) + 1):
        if len(part):
            yield int(micros[part[0]]), rows.take(pa.array(part))


def constant(value: str | float, count: int, kind: pa.DataType) -> pa.Array:
    """A column that holds one value throughout."""
    return pa.repeat(pa.scalar(value, kind), count)
