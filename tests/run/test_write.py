"""Sinks: what a bundle of record batches leaves in the output directory."""

import base64
import json
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tango_beam import record_columns
from tango_beam.io.files import InputFile
from tango_beam.io.planned import Input, PlannedFile
from tango_beam.record_columns import OutputColumns
from tango_beam.run import receipts, write
from tango_beam.run.layout import RECEIPTS
from tango_beam.run.run_file import Run
from tango_beam.run.store import Store
from tango_beam.run.write import Sink

INPUT = pa.schema([("text", pa.string()), ("id", pa.int64())])
COLUMNS = OutputColumns(source=True)


@pytest.fixture
def store(tmp_path):
    files = tuple(PlannedFile(InputFile(f"/{name}", 9, "", "jsonl")) for name in ("a", "b"))
    store = Store(str(tmp_path / "out"))
    run = Run(
        input=Input(files, INPUT, ("text",)),
        output_schema=COLUMNS.schema(INPUT),
    )
    store.prepare(overwrite=True)
    run.save(store)
    return store


def answered(ids, checkpoint=0, attempt=7, file=0, row_group=-1):
    """Rows as a tier gives them, cost and position hidden."""
    count = len(ids)
    answer = {
        "prediction": ["yes"] * count,
        "confidence": [0.5] * count,
        "tier": [1] * count,
        "first_tier_prediction": ["yes"] * count,
        "first_tier_confidence": [0.5] * count,
        "threshold": [0.25] * count,
        "route": ["accepted"] * count,
        "truncated": [False] * count,
        "cascade": ["0" * 16] * count,
    }
    columns = {name: pa.array(answer[name], COLUMNS.added().field(name).type) for name in answer}
    rows = np.array(ids, np.int64) * 10
    cost = {"seconds": 0.5, "computing": 0.25, "operations": 100.0, "tokens": 3, "padded": 4}
    return pa.RecordBatch.from_pydict(
        {
            "text": [f"text {n}" for n in ids],
            "id": pa.array(ids, pa.int64()),
            **columns,
            record_columns.POSITION: record_columns.positions(
                checkpoint, attempt, file, row_group, rows
            ),
            record_columns.COST + "1": pa.array([cost] * count),
        }
    )


def sink(store, batches, step="accepted"):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create(batches, reshuffle=False) | Sink(store.url, step)
    return receipts.load(store, store.names(RECEIPTS))


def test_rows_are_written_in_the_outputs_schema_with_their_positions(store):
    (receipt,) = sink(store, [answered([1, 2]), answered([3], file=1, row_group=4)])
    (file,) = receipt.files
    table = pq.read_table(store.path(file.name))
    assert table.schema.equals(COLUMNS.schema(INPUT))
    assert table["id"].to_pylist() == [1, 2, 3]
    assert table["source_file"].to_pylist() == ["/a", "/a", "/b"]
    assert table["source_row"].to_pylist() == [10, 20, 30]
    assert table["source_row_group"].to_pylist() == [None, None, 4]
    assert (file.rows, receipt.rows) == (3, 3)


def test_each_attempt_at_a_checkpoint_has_files_and_a_receipt_of_its_own(store):
    mixed = pa.concat_batches([answered([1]), answered([2], attempt=8), answered([3], 1, 9)])
    found = sink(store, [mixed, answered([4])])
    rows = {(receipt.checkpoint, receipt.attempt): receipt.rows for receipt in found}
    assert rows == {(0, 7): 2, (0, 8): 1, (1, 9): 1}
    files = [file.name for receipt in found for file in receipt.files]
    assert sorted(files) == [name for name in store.names() if name.startswith("part-")]


def test_a_receipt_adds_up_what_the_rows_took(store):
    (receipt,) = sink(store, [answered([1, 2]), answered([3])])
    cost = receipt.costs["tier 1"]
    assert (cost.seconds, cost.computing, cost.operations) == (1.5, 0.75, 300.0)
    assert (cost.tokens, cost.padded) == (9, 12)


def dead(raw, error="expected a text, found null"):
    rows = np.arange(len(raw), dtype=np.int64)
    return pa.RecordBatch.from_pydict(
        {
            record_columns.POSITION: record_columns.positions(0, 7, 0, -1, rows),
            record_columns.STAGE: ["read"] * len(raw),
            record_columns.ERROR: [error] * len(raw),
            record_columns.RAW: pa.array(raw, pa.binary()),
        }
    )


def test_dead_letters_bear_the_raw_record_the_position_and_the_reason(store):
    (receipt,) = sink(store, [dead([b"{}", b"\xff\xfe", None])], "dead")
    (file,) = receipt.files
    lines = Path(store.path(file.name)).read_text().splitlines()
    plain, other, nothing = map(json.loads, lines)
    assert plain["raw"] == "{}" and plain["raw_encoding"] == "utf-8"
    assert base64.b64decode(other["raw"]) == b"\xff\xfe" and other["raw_encoding"] == "base64"
    assert nothing["raw"] is None and nothing["raw_bytes"] is None
    assert [letter["offset"] for letter in (plain, other, nothing)] == [0, 1, 2]
    assert plain["file"] == "/a" and plain["row"] is None
    assert receipt.errors == {"read: expected a text": 3}


def test_a_dead_letter_keeps_the_head_of_a_long_record(store):
    whole = "ü" * write.RAW_BYTES  # the cut goes through a character
    sink(store, [dead([b"x" + whole.encode()])], "dead")
    (name,) = [name for name in store.names() if name.startswith("_dead_letters")]
    letter = json.loads(Path(store.path(name)).read_text())
    assert letter["raw_bytes"] == 2 * write.RAW_BYTES + 1
    assert whole.startswith(letter["raw"].removeprefix("x"))
    assert len(letter["raw"].encode()) in (write.RAW_BYTES - 1, write.RAW_BYTES)
