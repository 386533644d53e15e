"""Sinks: rows of a branch go to part files, with a receipt for each attempt at a checkpoint."""

from __future__ import annotations

import base64
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from tango_beam import audit, records
from tango_beam.io import plan, receipts
from tango_beam.io.files import JSONL, PARQUET
from tango_beam.io.parts import Part
from tango_beam.io.run import Run, load_run
from tango_beam.io.slices import RAW, raw_records
from tango_beam.io.store import Store
from tango_beam.records import Origin

DEAD_FOLDER = "_dead_letters"
DEAD = "dead"
# A dead letter keeps at most so much of a record.
RAW_BYTES = 64 << 10
# Parcels that a sink has open at once; rows of one arrive together, or nearly.
OPEN_PARCELS = 4


class Sink(beam.PTransform):
    """Writes record batches that carry positions; gives the names of the receipts.

    Args:
      output: the run's output directory.
      step: `accepted`, `escalated`, `audited` or `dead`; names the rows in the receipt and the
        files. Audited rows also go to `_audit/`, with what the last tier says of them.
    """

    def __init__(self, output: str, step: str) -> None:
        super().__init__()
        self._output, self._step = output, step

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | "Write" >> beam.ParDo(_Write(self._output, self._step)).with_output_types(
            str
        )


class _Pending:
    """One attempt at a checkpoint, as far as this bundle has written it."""

    def __init__(self, part: Part, letters: Part | None = None) -> None:
        self.part, self.letters = part, letters
        self.audit = [0, 0]
        self.seconds: dict[str, float] = {}
        self.tokens: dict[str, list[int]] = {}
        self.models: dict[str, list[float]] = {}
        self.errors: Counter[str] = Counter()


class _Write(beam.DoFn):
    def __init__(self, output: str, step: str) -> None:
        self._output, self._step = output, step

    def setup(self) -> None:
        self._store = Store(self._output)
        self._run = load_run(self._store)

    def start_bundle(self) -> None:
        self._pending: dict[Origin, _Pending] = {}

    def process(self, batch: pa.RecordBatch) -> Iterator[str]:
        for origin, rows in records.by_origin(batch):
            pending = self._pending.get(origin)
            if pending is None:
                pending = self._pending[origin] = self._begin(origin)
            _add_costs(rows, pending)
            if self._step == DEAD:
                letters = dead_letters(rows, self._run)
                pending.errors.update(_reasons(letters))
                pending.part.write(letters)
            else:
                pending.part.write(_outgoing(rows, self._run))
            if pending.letters:
                paths = _paths(rows.column(records.POSITION), self._run)
                letters = audit.letters(rows, paths, self._run.text_columns)
                agrees = letters.column("agrees")
                pending.letters.write(letters)
                pending.audit[0] += len(agrees) - agrees.null_count
                pending.audit[1] += len(agrees) - agrees.null_count - agrees.true_count
        yield from self._let_go()

    def _let_go(self) -> Iterator[str]:
        """Publishes parcels early: behind a shuffle, one bundle may hold all that there is."""
        parcels = [origin for origin in self._pending if origin.parcel]
        for origin in parcels[:-OPEN_PARCELS]:
            yield self._publish(origin, self._pending.pop(origin))

    def _begin(self, origin: Origin) -> _Pending:
        item, index = plan.item_of(origin.checkpoint)
        # Two bundles, or two sinks of dead letters, may write rows of one attempt: names differ.
        unique = f"{origin.delivery or origin.attempt:016x}{secrets.token_hex(2)}"
        stem = f"part-{item:06d}-{index:04d}-{self._step}-{unique}"
        if self._step == DEAD:
            schema = records.DEAD_LETTER_SCHEMA
            return _Pending(Part(self._store, f"{DEAD_FOLDER}/{stem}", schema, JSONL))
        part = Part(self._store, stem, self._run.output_schema, self._run.output_format)
        if self._step != "audited":
            return _Pending(part)
        schema, name = audit.schema(self._run.text_columns), f"{audit.FOLDER}/{stem}"
        return _Pending(part, Part(self._store, name, schema, PARQUET))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for origin, pending in self._pending.items():
            name = self._publish(origin, pending)
            yield WindowedValue(name, MIN_TIMESTAMP, [GlobalWindow()])
        self._pending = {}

    def _publish(self, origin: Origin, pending: _Pending) -> str:
        pending.part.publish()
        if pending.letters:
            pending.letters.publish()
        receipt = receipts.Receipt(
            **origin._asdict(),
            step=self._step,
            rows=pending.part.rows,
            files=pending.part.files + (pending.letters.files if pending.letters else []),
            seconds=dict(pending.seconds),
            tokens=pending.tokens,
            models=pending.models,
            errors=dict(pending.errors),
            audit=pending.audit,
        )
        return receipts.publish(self._store, receipt)


def _outgoing(batch: pa.RecordBatch, run: Run) -> pa.RecordBatch:
    """The batch in the output's schema: names, order, no hidden columns."""
    schema = run.output_schema
    columns = [batch.column(name) for name in records.visible(batch.schema.names)]
    if len(columns) < len(schema):
        columns += _source(batch, run)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _source(batch: pa.RecordBatch, run: Run) -> list[pa.Array]:
    position = batch.column(records.POSITION)
    group = position.field("row_group")
    missing = pa.scalar(None, pa.int32())
    return [
        _paths(position, run),
        pc.if_else(pc.less(group, 0), missing, group),
        position.field("row"),
    ]


def _paths(position: pa.StructArray, run: Run) -> pa.Array:
    return pa.array([entry.file.path for entry in run.files]).take(position.field("file"))


def _add_costs(batch: pa.RecordBatch, pending: _Pending) -> None:
    for name in batch.schema.names:
        if name.startswith(records.COST):
            tier = f"tier {name.removeprefix(records.COST)}"
            cost = batch.column(name)
            spent, computing, real, padded, operations = (
                pc.sum(cost.field(kind)).as_py() or 0
                for kind in ("seconds", "computing", "tokens", "padded", "operations")
            )
            pending.seconds[tier] = pending.seconds.get(tier, 0.0) + spent
            receipts.add(pending.tokens, tier, [real, padded])
            receipts.add(pending.models, tier, [computing, operations])


def dead_letters(batch: pa.RecordBatch, run: Run) -> pa.RecordBatch:
    """Dead rows as `records.DEAD_LETTER_SCHEMA`: position, stage, error, raw record.

    The raw record is text, or base64 where it is no UTF-8, cut at `RAW_BYTES`; it is null where the
    row could not be read at all.
    """
    position = batch.column(records.POSITION)
    lines = pc.less(position.field("row_group"), 0)
    names = batch.schema.names
    raw = batch.column(RAW) if RAW in names else raw_records(batch)
    shown = [_shown(value) for value in raw.to_pylist()]
    none32, none64 = pa.scalar(None, pa.int32()), pa.scalar(None, pa.int64())
    row = position.field("row")
    columns = [
        _paths(position, run),
        pc.if_else(lines, none32, position.field("row_group")),
        pc.if_else(lines, none64, row),
        pc.if_else(lines, row, none64),
        batch.column(records.STAGE),
        batch.column(records.ERROR),
        pa.array([text for text, _ in shown], pa.string()),
        pa.array([encoding for _, encoding in shown], pa.string()),
        pc.cast(pc.binary_length(raw), pa.int64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=records.DEAD_LETTER_SCHEMA)


def _shown(raw: bytes | None) -> tuple[str | None, str | None]:
    if raw is None:
        return None, None
    kept = raw[:RAW_BYTES]
    try:
        return kept.decode(), "utf-8"
    except UnicodeDecodeError as error:
        if len(raw) > RAW_BYTES and error.start > len(kept) - 4:
            return kept[: error.start].decode(), "utf-8"  # the cut went through a character
        return base64.b64encode(kept).decode(), "base64"


def _reasons(letters: pa.RecordBatch) -> Counter[str]:
    """Dead rows by stage and the part of the error that says what was expected."""
    pairs: Any = zip(
        letters.column("stage").to_pylist(), letters.column("error").to_pylist(), strict=True
    )
    return Counter(f"{stage}: {error.split(', found')[0][:120]}" for stage, error in pairs)
