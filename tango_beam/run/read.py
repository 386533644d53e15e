"""The reader: a splittable DoFn that takes one checkpoint a bundle.

One element stands for one worker's share of the input; its restriction is a range of checkpoint
numbers. After each checkpoint the reader defers the rest, which ends the bundle: everything behind
it is flushed, and the sinks store what the checkpoint gave.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.metrics import Metrics
from apache_beam.transforms.core import RestrictionProvider

from tango_beam import coders, progress  # noqa: F401 - registers the coder
from tango_beam.io import plan
from tango_beam.io.planned import Item
from tango_beam.io.slice_reader import Reading, SliceReader
from tango_beam.run import receipts
from tango_beam.run.layout import RECEIPTS
from tango_beam.run.run_file import load_run
from tango_beam.run.store import Store

GOOD, DEAD = "good", "dead"


class ReadRecords(beam.PTransform):
    """Reads a run's input as record batches with positions; dead rows on the output `dead`.

    Args:
      output: the run's output directory, where `_run.json` lies.
      items: how many items the run's plan has.
      workers: shares to cut the input in.
    """

    def __init__(self, output: str, items: int, workers: int = 1) -> None:
        super().__init__()
        self._output, self._items, self._workers = output, items, workers

    def expand(self, begin: Any) -> beam.pvalue.DoOutputsTuple:
        count = max(1, min(self._workers, self._items))
        edges = [self._items * worker // count for worker in range(count + 1)]
        shares = begin | "Shares" >> beam.Create(list(pairwise(edges)))
        if count > 1:
            shares |= "Spread" >> beam.Reshuffle()
        return shares | "Read" >> beam.ParDo(_Read(self._output)).with_output_types(
            pa.RecordBatch
        ).with_outputs(DEAD, main=GOOD)


class _ItemTracker(OffsetRestrictionTracker):
    """Splits between items only, so that two workers never read one compressed file."""

    _range: OffsetRange
    _last_claim_attempt: int | None

    def try_split(self, fraction_of_remainder: float) -> Any:
        if fraction_of_remainder == 0:
            return super().try_split(0)
        if self._checkpointed:
            return None
        claimed = self._last_claim_attempt
        at = self._range.start if claimed is None else claimed
        middle = at + int((self._range.stop - at) * fraction_of_remainder)
        split = plan.number(plan.item_of(max(middle, at))[0] + 1)
        if split >= self._range.stop:
            return None
        self._range, residual = self._range.split_at(split)
        return self._range, residual


class _Shares(RestrictionProvider):
    def initial_restriction(self, element: tuple[int, int]) -> OffsetRange:
        return OffsetRange(plan.number(element[0]), plan.number(element[1]))

    def create_tracker(self, restriction: OffsetRange) -> _ItemTracker:
        return _ItemTracker(restriction)

    def restriction_size(self, element: tuple[int, int], restriction: OffsetRange) -> int:
        return restriction.size() >> plan.INDEX_BITS

    def restriction_coder(self) -> beam.coders.Coder:
        return beam.coders.registry.get_coder(OffsetRange)


class _Read(beam.DoFn):
    def __init__(self, output: str) -> None:
        self._output = output
        self._rows = Metrics.counter("read", "rows")

    def setup(self) -> None:
        self._store = Store(self._output)
        self._run = load_run(self._store)
        self._items = self._run.items()
        self._reader = SliceReader(self._run.input)
        self._done = receipts.committed(self._store.names(RECEIPTS))

    def teardown(self) -> None:
        self._reader.close()

    def process(
        self,
        element: tuple[int, int],
        tracker: Any = beam.DoFn.RestrictionParam(_Shares()),  # noqa: B008 - Beam's way
    ) -> Iterator:
        restriction = tracker.current_restriction()
        position, stop = restriction.start, restriction.stop
        while position < stop:
            index, part = plan.item_of(position)
            item = self._items[index]
            if part and not item.stream:
                position = plan.number(index + 1)  # a plain item is one checkpoint
                continue
            if not tracker.try_claim(position):
                return
            if position in self._done:
                position = position + 1 if item.stream else plan.number(index + 1)
                continue
            more = yield from self._checkpoint(item, position)
            following = position + 1 if more else plan.number(index + 1)
            if following - 1 > position and not tracker.try_claim(following - 1):
                return  # nothing is left of the item; the claim ends it
            position = following
            if position < stop:
                # Ends the bundle here; the runner comes back with the rest.
                tracker.defer_remainder()
                return
        tracker.try_claim(stop)

    def _checkpoint(self, item: Item, checkpoint: int) -> Generator[Any, None, bool]:
        """Reads one checkpoint; returns whether another follows in the same item."""
        started = time.perf_counter()
        reading = Reading(checkpoint, secrets.randbits(63))
        waited, weight = 0.0, 0
        for piece in self._pieces(item, checkpoint, reading):
            dead = 0 if piece.dead is None else piece.dead.num_rows
            progress.board.took_in(piece.rows, piece.weight, dead)
            weight += piece.weight
            before = time.perf_counter()
            if piece.good is not None:
                yield piece.good
            if piece.dead is not None:
                yield beam.pvalue.TaggedOutput(DEAD, piece.dead)
            waited += time.perf_counter() - before
        more = item.stream and not self._reader.stream_ended(item.slices[0])
        self._rows.inc(reading.rows)
        receipts.publish(
            self._store,
            receipts.Receipt(
                checkpoint=checkpoint,
                attempt=reading.attempt,
                step=receipts.READ,
                rows=reading.rows,
                seconds=time.perf_counter() - started - waited,
                last=not more,
                broken=tuple(reading.broken),
                weight=int(weight),
            ),
        )
        return more

    def _pieces(self, item: Item, checkpoint: int, reading: Reading) -> Iterator:
        if item.stream:
            yield from self._reader.read_stream(
                item.slices[0], plan.item_of(checkpoint)[1], reading
            )
            return
        for piece in item.slices:
            yield from self._reader.read(piece, reading)
