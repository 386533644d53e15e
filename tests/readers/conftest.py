"""An output folder with every kind of column, and with all that a run leaves beside its data."""

import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import classify
from tests import jobs, tiny

DEAD = 3
SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "text": pa.large_string(),
        "at": pa.timestamp("us", "UTC"),
        "local": pa.timestamp("ms"),
        "day": pa.date32(),
        "price": pa.decimal128(10, 2),
        "tags": pa.list_(pa.string()),
        "author": pa.struct({"name": pa.string(), "age": pa.int32()}),
        "thumb": pa.binary(),
        "language": pa.dictionary(pa.int32(), pa.string()),
        "score": pa.float32(),
        "seen": pa.bool_(),
    }
)


def _row(number, text):
    if number % 4 == 1:  # nulls in every column but two
        return {"id": number, "text": text}
    return {
        "id": number,
        "text": text,
        "at": datetime.datetime(2024, 2, 29, 23, 59, number, 123456, tzinfo=datetime.UTC),
        "local": datetime.datetime(1969, 12, 31, 1, 2, number, 5000),
        "day": datetime.date(1900, 1, 1 + number),
        "price": Decimal(number * 1001 - 5000) / 100,
        "tags": [["a", None, "b"], [], ["c"]][number % 3],
        "author": {"name": f"n{number}", "age": None if number % 3 else number},
        "thumb": bytes([0, 255, number]),
        "language": ["en", "de"][number % 2],
        "score": number / 4,
        "seen": number % 3 == 0,
    }


@pytest.fixture(scope="session")
def out(cascade, tmp_path_factory):
    """The folder `out` of a run; its rows by id as they went in, and as they came out."""
    folder, rng = tmp_path_factory.mktemp("readers"), np.random.default_rng(0)
    rows = [_row(number, tiny.sentence(rng)) for number in range(24)]
    rows += [_row(number, None) for number in range(24, 24 + DEAD)]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "in.parquet", row_group_size=9)
    given = jobs.arguments(cascade, folder / "in.parquet", folder / "out", "--audit_rate", "0.5")
    given += ["--precision", "fp32", "--max_dead_fraction", "0.5", "--scores"]
    # A small checkpoint, so that there are several files.
    assert classify.main([*given, "--checkpoint_bytes", "1500"]) in (0, 4)
    return folder
