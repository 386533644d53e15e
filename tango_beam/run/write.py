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

from tango_beam import audit, record_columns
from tango_beam.answers import Decoder
from tango_beam.io import plan
from tango_beam.io.files import JSONL, PARQUET
from tango_beam.io.planned import BYTES
from tango_beam.io.slice_reader import raw_records
from tango_beam.record_columns import Origin
from tango_beam.run import receipts
from tango_beam.run.answer_counts import AnswerCounts, AnswerTally
from tango_beam.run.keep import Keep
from tango_beam.run.layout import AUDIT, DEAD_LETTERS, PART
from tango_beam.run.parts import PART_BYTES, Part
from tango_beam.run.receipts import EXAMPLES, Checked, Example, TierCost
from tango_beam.run.run_file import Run, load_run
from tango_beam.run.store import Store

DEAD, AUDITED = "dead", "audited"
# Of audited rows, those that a tier behind the first one had answered.
AUDITED_LATER = "audited_later"
# A dead letter keeps at most so much of a record.
RAW_BYTES = 64 << 10
# Parcels that a sink has open at once; rows of one arrive together, or nearly.
OPEN_PARCELS = 4
# A receipt shows dead rows of so many reasons, and so much of an error and of a record.
EXAMPLE_REASONS, EXAMPLE_CHARACTERS = 20, 200
_SHOWN = ("error", "raw")


class Sink(beam.PTransform):
    """Writes record batches that carry positions; gives the names of the receipts.

    Args:
      output: the run's output directory.
      step: `accepted`, `escalated`, `audited` or `dead`; names the rows in the receipt and the
        files. Rows that the last tier was asked about (`audit.is_checked`: all audited ones, and
        those drawn of a last tier with exits) also go to `_audit/`, with what it says of them.
        Audited rows that a tier behind the first one answered get receipts of their own
        (`AUDITED_LATER`), since they are escalated ones in the sums.
      decoder: of the last tier: answered rows are counted by what it calls them. None for none.
      keep: which answered rows are written; the receipt counts the others too. None for all.
    """

    def __init__(
        self, output: str, step: str, decoder: Decoder | None = None, keep: Keep | None = None
    ) -> None:
        super().__init__()
        self._write = _Write(output, step, decoder, keep)

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | "Write" >> beam.ParDo(self._write).with_output_types(str)


class _Pending:
    """One attempt at a checkpoint, as far as this bundle has written it."""

    def __init__(
        self, part: Part, audited: Part | None = None, tally: AnswerTally | None = None
    ) -> None:
        self.part, self.audited, self.tally = part, audited, tally
        self.checked = Checked()
        self.costs: dict[str, TierCost] = {}
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, list[Example]] = {}
        self.filtered = 0


class _Write(beam.DoFn):
    def __init__(self, output: str, step: str, decoder: Decoder | None, keep: Keep | None) -> None:
        self._output, self._step, self._decoder, self._keep = output, step, decoder, keep

    def setup(self) -> None:
        self._store = Store(self._output)
        self._run = load_run(self._store)

    def start_bundle(self) -> None:
        self._pending: dict[tuple[Origin, str], _Pending] = {}

    def process(self, batch: pa.RecordBatch) -> Iterator[str]:
        for origin, rows in record_columns.by_origin(batch):
            for step, part in self._by_step(rows):
                key = origin, step
                if key not in self._pending:
                    self._pending[key] = self._begin(origin, step)
                self._write(self._pending[key], part)
        yield from self._let_go()

    def _by_step(self, rows: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Rows by the step that their receipt names."""
        if self._step != AUDITED:
            yield self._step, rows
            return
        first = pc.equal(rows.column(self._run.prefix + "tier"), 1)
        for step, chosen in ((AUDITED, first), (AUDITED_LATER, pc.invert(first))):
            part = rows.filter(chosen)
            if part.num_rows:
                yield step, part

    def _write(self, pending: _Pending, rows: pa.RecordBatch) -> None:
        receipts.add_costs(pending.costs, _costs(rows))
        if self._step == DEAD:
            letters = dead_letters(rows, self._run)
            reasons = _reasons(letters)
            pending.errors.update(reasons)
            _add_examples(pending.examples, reasons, letters)
            pending.part.write(letters)
        else:
            if pending.tally:
                pending.tally.add(rows)
            kept = rows if self._keep is None else self._keep.rows(rows)
            pending.filtered += rows.num_rows - kept.num_rows
            if kept.num_rows:
                pending.part.write(_outgoing(kept, self._run))
        if pending.audited:
            asked = audit.is_checked(rows)
            self._audit(pending, rows if asked.all() else rows.filter(pa.array(asked)))

    def _audit(self, pending: _Pending, rows: pa.RecordBatch) -> None:
        """Writes rows that the last tier was asked about to `_audit/`, and counts them."""
        if not rows.num_rows or pending.audited is None:
            return
        paths = _paths(rows.column(record_columns.POSITION), self._run)
        checked = audit.audit_rows(rows, paths, self._run.input.texts)
        agrees = checked.column("agrees")
        pending.audited.write(checked)
        answered = len(agrees) - agrees.null_count
        pending.checked = Checked(
            pending.checked.rows + answered,
            pending.checked.disagreements + answered - agrees.true_count,
            pending.checked.failed + agrees.null_count,
        )

    def _let_go(self) -> Iterator[str]:
        """Publishes parcels early: behind a shuffle, one bundle may hold all that there is."""
        parcels = [key for key in self._pending if key[0].parcel]
        for key in parcels[:-OPEN_PARCELS]:
            yield self._publish(*key, self._pending.pop(key))

    def _begin(self, origin: Origin, step: str) -> _Pending:
        item, index = plan.item_of(origin.checkpoint)
        # Two bundles, or two sinks of dead letters, may write rows of one attempt: names differ.
        unique = f"{origin.delivery or origin.attempt:016x}{secrets.token_hex(2)}"
        stem = f"{PART}{item:06d}-{index:04d}-{step}-{unique}"
        most = self._run.part_bytes or PART_BYTES
        if self._step == DEAD:
            schema = record_columns.DEAD_LETTER_SCHEMA
            return _Pending(Part(self._store, f"{DEAD_LETTERS}/{stem}", schema, JSONL, most))
        part = Part(self._store, stem, self._run.output_schema, self._run.output_format, most)
        tally = self._tally()
        if not self._run.audit_rate:
            return _Pending(part, tally=tally)
        answer = self._run.output_schema.field(self._run.prefix + "prediction")
        schema = audit.audit_schema(self._run.input.text_columns, answer.type)
        name = f"{AUDIT}/{stem}"
        return _Pending(part, Part(self._store, name, schema, PARQUET, most), tally)

    def _tally(self) -> AnswerTally | None:
        if self._decoder is None:
            return None
        run = self._run
        return AnswerTally(self._decoder, run.cascade["labels"], run.prefix, run.input.texts)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for key, pending in self._pending.items():
            name = self._publish(*key, pending)
            yield WindowedValue(name, MIN_TIMESTAMP, [GlobalWindow()])
        self._pending = {}

    def _publish(self, origin: Origin, step: str, pending: _Pending) -> str:
        pending.part.publish()
        if pending.audited:
            pending.audited.publish()
        receipt = receipts.Receipt(
            **origin._asdict(),
            step=step,
            rows=pending.part.rows + pending.filtered,
            filtered=pending.filtered,
            files=(*pending.part.files, *(pending.audited.files if pending.audited else ())),
            costs=pending.costs,
            errors=dict(pending.errors),
            audit=pending.checked,
            examples={reason: tuple(found) for reason, found in pending.examples.items()},
            counts=pending.tally.counts() if pending.tally else AnswerCounts(),
        )
        return receipts.publish(self._store, receipt)


def _outgoing(batch: pa.RecordBatch, run: Run) -> pa.RecordBatch:
    """The batch in the output's schema: names and order; of hidden columns, lines alone."""
    schema = run.output_schema
    columns = [batch.column(name) for name in record_columns.visible(batch.schema.names)]
    if len(columns) < len(schema):
        columns += _source(batch, run)
    outgoing = pa.RecordBatch.from_arrays(columns, schema=schema)
    if run.input.lines is not None and run.input.lines.own:
        line = batch.column(record_columns.LINE)
        return record_columns.append(outgoing, {record_columns.LINE: line})
    return outgoing


def _source(batch: pa.RecordBatch, run: Run) -> list[pa.Array]:
    position = batch.column(record_columns.POSITION)
    return [_paths(position, run), record_columns.row_groups(position), position.field("row")]


def _paths(position: pa.StructArray, run: Run) -> pa.Array:
    return pa.array([entry.file.path for entry in run.input.files]).take(position.field("file"))


def _costs(batch: pa.RecordBatch) -> dict[str, TierCost]:
    """What a batch's rows took, by tier (see `scoring`)."""
    costs = {}
    for name in batch.schema.names:
        if name.startswith(record_columns.COST):
            tier = f"tier {name.removeprefix(record_columns.COST)}"
            column = batch.column(name)
            kinds = [field.name for field in column.type]
            sums = {kind: pc.sum(column.field(kind)).as_py() or 0 for kind in kinds}
            costs[tier] = TierCost(**sums)
    return costs


def dead_letters(batch: pa.RecordBatch, run: Run) -> pa.RecordBatch:
    """Dead rows as `records.DEAD_LETTER_SCHEMA`: position, stage, error, raw record.

    The raw record is text, or base64 where it is no UTF-8, cut at `RAW_BYTES`; it is null where the
    row could not be read at all.
    """
    position = batch.column(record_columns.POSITION)
    lines = pc.equal(position.field("row_group"), BYTES)
    names = batch.schema.names
    raw = batch.column(record_columns.RAW) if record_columns.RAW in names else raw_records(batch)
    shown = [_shown(value) for value in raw.to_pylist()]
    none64 = pa.scalar(None, pa.int64())
    row = position.field("row")
    columns = [
        _paths(position, run),
        record_columns.row_groups(position),
        pc.if_else(lines, none64, row),
        pc.if_else(lines, row, none64),
        batch.column(record_columns.STAGE),
        batch.column(record_columns.ERROR),
        pa.array([text for text, _ in shown], pa.string()),
        pa.array([encoding for _, encoding in shown], pa.string()),
        pc.cast(pc.binary_length(raw), pa.int64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=record_columns.DEAD_LETTER_SCHEMA)


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


def _reasons(letters: pa.RecordBatch) -> list[str]:
    """Of each dead row, the stage and the part of the error that says what was expected."""
    pairs: Any = zip(
        letters.column("stage").to_pylist(), letters.column("error").to_pylist(), strict=True
    )
    return [f"{stage}: {error.split(', found')[0][:120]}" for stage, error in pairs]


def _add_examples(
    examples: dict[str, list[Example]], reasons: list[str], letters: pa.RecordBatch
) -> None:
    """Adds the first rows of each reason, up to `EXAMPLES`; of so many reasons, not of all."""
    for at, reason in enumerate(reasons):
        if reason not in examples and len(examples) >= EXAMPLE_REASONS:
            continue
        found = examples.setdefault(reason, [])
        if len(found) < EXAMPLES:
            (letter,) = letters.slice(at, 1).to_pylist()
            error, raw = (letter[name] and letter[name][:EXAMPLE_CHARACTERS] for name in _SHOWN)
            found.append(Example(letter["file"], letter["row"], letter["offset"], error, raw))
