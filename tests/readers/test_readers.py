"""An output folder read as docs/reading_outputs.md says: rows, values and types."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import tiny
from tests.jobs import ROOT
from tests.readers.conftest import DEAD, SCHEMA

PAGE = (ROOT / "docs" / "reading_outputs.md").read_text()


def run_snippet(heading):
    """Runs the code under a heading of the page, in the current folder; returns its names."""
    pattern = rf"^## {heading}\n\n(?:<!--.*?-->\n)?```python\n(.*?)```"
    (code,) = re.findall(pattern, PAGE, re.MULTILINE | re.DOTALL)
    return _run(code)


def _run(code):
    names = {}
    exec(code, names)
    return names


@pytest.fixture
def beside(out, monkeypatch, tmp_path):
    """Goes to the folder that holds `out`; nothing is fetched, or left in a home."""
    monkeypatch.chdir(out)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert list(out.glob("out/_audit/*.parquet")) and list(out.glob("out/_dead_letters/*"))
    assert len(list(out.glob("out/part-*.parquet"))) > 4
    return out


def holds(beside, table: pa.Table):
    """Every row once, with the values that it came with, nulls too, and with an answer."""
    expected = pq.read_table(beside / "in.parquet").to_pylist()[:-DEAD]
    found = sorted(table.to_pylist(), key=lambda row: row["id"])
    assert len(found) == 24
    assert [{name: row[name] for name in SCHEMA.names} for row in found] == expected
    assert {row["prediction"] for row in found} <= set(tiny.LABELS)
    for row in found:
        assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert {row["tier"] for row in found} == {1, 2}


def types(found, expected):
    assert {name: str(found[name]) for name in expected} == expected


def test_duckdb(beside):
    pytest.importorskip("duckdb", reason="duckdb is not installed")
    rows = run_snippet("DuckDB")["rows"]
    assert rows.count("*").fetchall() == [(24,)]
    said = {
        "at": "TIMESTAMP WITH TIME ZONE",
        "local": "TIMESTAMP",
        "day": "DATE",
        "price": "DECIMAL(10,2)",
        "tags": "VARCHAR[]",
        "author": 'STRUCT("name" VARCHAR, age INTEGER)',
        "thumb": "BLOB",
        "language": "VARCHAR",
        "tier": "TINYINT",
    }
    types(dict(zip(rows.columns, rows.types, strict=True)), said)
    holds(beside, rows.to_arrow_table())


def test_polars(beside):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    rows = run_snippet("Polars")["rows"]
    assert rows.height == 24
    kinds = {
        "at": polars.Datetime("us", "UTC"),
        "local": polars.Datetime("ms"),
        "day": polars.Date,
        "price": polars.Decimal(10, 2),
        "tags": polars.List(polars.String),
        "author": polars.Struct({"name": polars.String, "age": polars.Int32}),
        "thumb": polars.Binary,
        "language": polars.Categorical,
        "tier": polars.Int8,
    }
    assert {name: rows.schema[name] for name in kinds} == kinds
    holds(beside, rows.to_arrow())


def test_pandas(beside):
    pytest.importorskip("pandas", reason="pandas is not installed")
    rows = run_snippet("pandas")["rows"]
    assert len(rows) == 24
    said = {
        "at": "timestamp[us, tz=UTC][pyarrow]",
        "price": "decimal128(10, 2)[pyarrow]",
        "tags": "list<element: string>[pyarrow]",
        "author": "struct<name: string, age: int32>[pyarrow]",
        "thumb": "binary[pyarrow]",
        "language": "dictionary<values=string, indices=int32, ordered=0>[pyarrow]",
        "text": "large_string[pyarrow]",
    }
    types(rows.dtypes, said)
    holds(beside, pa.Table.from_pandas(rows, preserve_index=False))


def test_datasets(beside):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    rows = run_snippet("datasets")["rows"]
    assert rows.num_rows == 24
    value, kinds = datasets.Value, rows.features
    assert kinds["at"] == value("timestamp[us, tz=UTC]") and kinds["local"] == value(
        "timestamp[ms]"
    )
    assert kinds["price"] == value("decimal128(10, 2)") and kinds["thumb"] == value("binary")
    assert kinds["tags"] == datasets.List(value("string")) and kinds["language"] == value("string")
    assert kinds["author"] == {"name": value("string"), "age": value("int32")}
    holds(beside, rows.with_format("arrow")[:])


def test_pyspark(beside):
    pytest.importorskip("pyspark", reason="pyspark is not installed")
    names = run_snippet("PySpark")
    rows = names["rows"]
    try:
        assert rows.count() == 24
        said = {
            "at": "timestamp",
            "local": "timestamp_ntz",
            "day": "date",
            "price": "decimal(10,2)",
            "tags": "array<string>",
            "author": "struct<name:string,age:int>",
            "thumb": "binary",
            "language": "string",
            "tier": "tinyint",
        }
        types(dict(rows.dtypes), said)
        holds(beside, rows.toArrow())
    finally:
        names["spark"].stop()


def test_pyarrow(beside):
    rows = run_snippet("PyArrow")["rows"]
    assert rows.schema.names[: len(SCHEMA)] == SCHEMA.names
    assert [rows.schema.field(name).type for name in SCHEMA.names] == [
        pa.list_(pa.field("element", pa.string())) if name == "tags" else SCHEMA.field(name).type
        for name in SCHEMA.names
    ]
    holds(beside, rows)


def test_what_stands_beside_the_rows_is_read_by_its_own_name(beside):
    (code,) = re.findall(r"^## Dead letters.*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    names = _run(code)
    assert len(names["letters"]) == names["counts"]["dead"] == DEAD


def test_the_page_says_what_readers_make_of_a_folder_with_an_audit(beside):
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    checked = pq.read_table(beside / "out" / "_audit").num_rows
    assert duckdb.sql("SELECT count(*) FROM read_parquet('out')").fetchall() == [(24 + checked,)]
    polars = pytest.importorskip("polars", reason="polars is not installed")
    with pytest.raises(polars.exceptions.PolarsError, match="different file extensions"):
        polars.read_parquet("out")
