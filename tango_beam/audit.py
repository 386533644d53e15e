"""Audits: the last tier also answers some simple rows, to check the certificate. No Beam.

A row is drawn by a hash of its position, so that every attempt and every resumed run draws the same
ones. Its answer is held in a hidden column while it travels to the last tier, and is written
whatever the last tier says; both answers go to `_audit/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam import record_columns
from tango_beam.answers import Decoder
from tango_beam.arrays import Bool

# The texts' own columns may bear the name of another column here.
_TEXTS = ("text", "text_pair")


def is_drawn(batch: pa.RecordBatch, rate: float) -> Bool:
    """Which rows are drawn, by position; each with probability `rate`, shape [rows]."""
    if rate <= 0 or record_columns.POSITION not in batch.schema.names:
        return np.zeros(batch.num_rows, bool)
    position = batch.column(record_columns.POSITION)
    mixed: npt.NDArray[np.uint64] = np.zeros(batch.num_rows, np.uint64)
    for name in ("file", "row_group", "row"):
        mixed = _mix(mixed ^ position.field(name).to_numpy().astype(np.int64).view(np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53 < rate


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, 2014), which scatters every bit."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def is_held(batch: pa.RecordBatch) -> Bool:
    """Which rows carry the answer of an earlier tier, shape [rows]."""
    if record_columns.HELD_ANSWER not in batch.schema.names:
        return np.zeros(batch.num_rows, bool)
    return batch.column(record_columns.HELD_ANSWER).is_valid().to_numpy(zero_copy_only=False)


def hold(
    rows: pa.RecordBatch, answer: dict[str, pa.Array], mine: Bool, earlier: Bool
) -> pa.StructArray:
    """The column of held answers for rows that go on.

    Args:
      rows: that go on.
      answer: this tier's answer to them, by the names of the output's columns.
      mine: rows that this tier accepts and that were drawn, shape [rows].
      earlier: rows that carry an answer already, shape [rows].
    """
    made = pa.StructArray.from_arrays([*answer.values()], [*answer], mask=pa.array(~mine))
    if not earlier.any():
        return made
    own = np.arange(len(made))
    both = pa.concat_arrays([made, rows.column(record_columns.HELD_ANSWER).cast(made.type)])
    return both.take(pa.array(np.where(earlier, own + len(made), own)))


def held_answer(rows: pa.RecordBatch) -> dict[str, pa.Array]:
    """The held answers of rows that all carry one, by the names of the output's columns."""
    column = rows.column(record_columns.HELD_ANSWER)
    return {field.name: column.field(field.name) for field in column.type}


def last_answer(
    answer: Mapping[str, pa.Array], last: Mapping[str, pa.Array], decoder: Decoder
) -> pa.StructArray:
    """The column of what the last tier says of rows that are checked.

    Args:
      answer: that the rows bear, by the names of the output's columns.
      last: the last tier's, likewise.
      decoder: of the last tier.
    """
    said = {name: last[name] for name in ("prediction", "confidence")}
    said["agrees"] = decoder.agrees(answer, last)
    return pa.StructArray.from_arrays([*map(pa.array, said.values())], [*said])


def is_checked(batch: pa.RecordBatch) -> Bool:
    """Which rows carry what the last tier says of their answer, shape [rows]."""
    if record_columns.LAST_ANSWER not in batch.schema.names:
        return np.zeros(batch.num_rows, bool)
    return batch.column(record_columns.LAST_ANSWER).is_valid().to_numpy(zero_copy_only=False)


def audit_rows(
    batch: pa.RecordBatch, paths: pa.Array, text_columns: Sequence[str]
) -> pa.RecordBatch:
    """What goes to `_audit/`: position, texts, both answers, whether they agree.

    Args:
      batch: audited rows, with hidden columns; answer columns may bear a prefix.
      paths: of each row's file.
      text_columns: of the input.
    """
    position, last = batch.column(record_columns.POSITION), batch.column(record_columns.LAST_ANSWER)
    simple = batch.column(record_columns.HELD_ANSWER)
    first, second = simple.field("prediction"), last.field("prediction")
    texts = {
        name: batch.column(column).cast(pa.string())
        for name, column in zip(_TEXTS, text_columns, strict=False)
    }
    return pa.RecordBatch.from_pydict(
        {
            "file": paths,
            "row_group": record_columns.row_groups(position),
            "row": position.field("row"),
            **texts,
            "tier": simple.field("tier"),
            "prediction": first,
            "confidence": simple.field("confidence"),
            "last_tier_prediction": second,
            "last_tier_confidence": last.field("confidence"),
            "agrees": last.field("agrees"),
        }
    )


def audit_schema(text_columns: Sequence[str], prediction: pa.DataType) -> pa.Schema:
    """Schema of `audit_rows`, for predictions of a type."""
    return pa.schema(
        [
            ("file", pa.string()),
            ("row_group", pa.int32()),
            ("row", pa.int64()),
            *((name, pa.string()) for name in _TEXTS[: len(text_columns)]),
            ("tier", pa.int8()),
            ("prediction", prediction),
            ("confidence", pa.float32()),
            ("last_tier_prediction", prediction),
            ("last_tier_confidence", pa.float32()),
            ("agrees", pa.bool_()),
        ]
    )
