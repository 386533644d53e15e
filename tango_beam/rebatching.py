"""Record batches joined to the size that a tier wants; each row keeps its window and timestamp.

pieces of one window, timestamps 10:00 and 10:01 ──> one batch, column `record_columns.TIME`
that batch, scored                               ──> a batch at 10:00, and one at 10:01
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from tango_beam import batching, record_columns

MOST_WINDOWS = 10  # with rows waiting, so that a bundle of many windows stays small in memory


class BatchRows(beam.PTransform):
    """Record batches in, record batches of up to `rows` rows out.

    Rows of several windows never share a batch. What is left at the end of a bundle goes out as it
    is, so a row never waits for another bundle.

    Beam's BatchElements puts the end of the window in place of every timestamp, hence this.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows = rows

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        # Pieces of a quarter fill a batch well, whatever sizes come in.
        piece = max(1, self._rows // 4)
        return (
            batches
            | "Cut" >> beam.FlatMap(batching.cut_rows, piece).with_output_types(pa.RecordBatch)
            | "Join" >> beam.ParDo(JoinRows(self._rows)).with_output_types(pa.RecordBatch)
        )


@dataclass
class _Waiting:
    """Pieces of one window that are not joined yet, with the timestamp of each."""

    pieces: list[pa.RecordBatch] = field(default_factory=list)
    times: list[Timestamp] = field(default_factory=list)
    weight: int = 0


class JoinRows(beam.DoFn):
    """Joins record batches of one window and bundle, up to `rows` rows or rows' worth of bytes."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def start_bundle(self) -> None:
        self._waiting: dict[Any, _Waiting] = {}

    def process(
        self,
        element: pa.RecordBatch,
        time: Timestamp = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[WindowedValue]:
        weight = batching.row_weight(element)
        if window in self._waiting and self._waiting[window].weight + weight > self._rows:
            yield self._joined(window)
        waiting = self._waiting.setdefault(window, _Waiting())
        waiting.pieces.append(element)
        waiting.times.append(time)
        waiting.weight += weight
        if len(self._waiting) > MOST_WINDOWS:
            yield self._joined(max(self._waiting, key=lambda one: self._waiting[one].weight))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for window in [*self._waiting]:
            yield self._joined(window)

    def _joined(self, window: Any) -> WindowedValue:
        waiting = self._waiting.pop(window)
        pieces, times = waiting.pieces, waiting.times
        if len(set(times)) > 1:
            pieces = [_stamped(*pair) for pair in zip(pieces, times, strict=True)]
        return WindowedValue(batching.join(pieces), min(times), (window,))


def _stamped(piece: pa.RecordBatch, time: Timestamp) -> pa.RecordBatch:
    stamp = record_columns.constant(time.micros, piece.num_rows, pa.int64())
    return record_columns.append(piece, {record_columns.TIME: stamp})


def in_time(batch: pa.RecordBatch, window: Any = beam.DoFn.WindowParam) -> Iterator[Any]:
    """Rows of a batch at their own timestamps, in the batch's window; without rows, nothing.

    Args:
      batch: as `BatchRows` gives it, or made of its rows.
      window: the batch's.
    """
    if record_columns.TIME in batch.schema.names:
        for micros, rows in record_columns.by_time(batch):
            yield WindowedValue(rows, Timestamp(micros=micros), (window,))
    elif batch.num_rows:
        yield batch
