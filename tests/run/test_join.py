"""Pieces become parts: sizes, types, and what a kill leaves."""

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from tango_beam.command_line import Size
from tango_beam.errors import JobError
from tango_beam.run import join
from tango_beam.run.join import plan_joins
from tango_beam.run.parts import Part
from tango_beam.run.receipts import StoredFile
from tango_beam.run.store import Store

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
        ("deep", pa.list_(pa.struct([("a", pa.timestamp("ns", "UTC")), ("b", pa.large_binary())]))),
        ("set", pa.map_(pa.string(), pa.float32())),
    ]
)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "out"))


def rows(start, count):
    numbers = range(start, start + count)
    columns = {
        "id": pa.array(numbers, pa.int64()),
        "kind": pa.array(["ab"[n % 2] for n in numbers]).dictionary_encode().cast(SCHEMA.types[1]),
        "deep": pa.array([[{"a": n, "b": b"x"}] * (n % 3) for n in numbers], SCHEMA.types[2]),
        "set": pa.array([[("k", n / 2)] if n % 2 else None for n in numbers], SCHEMA.types[3]),
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


def pieces(store, kind, count=5):
    files = []
    for number in range(count):
        part = Part(store, f"part-{number:06d}-0000-accepted-x", SCHEMA, kind)
        part.write(rows(10 * number, 10))
        part.publish()
        files += part.files
    return files


def joined(store, kind):
    files = pieces(store, kind)
    before = [store.open_input(file.name).read() for file in files]
    tables = [pq.read_table(store.path(file.name)) for file in files] if kind == "parquet" else []
    (made,) = plan_joins(files, 1 << 20)
    join.execute(store, made)
    join.execute(store, made)  # a runner may do it again
    assert store.names() == [made.name]
    return made, before, tables


def test_parquet_is_joined_in_few_row_groups_with_every_type_as_it_was(store):
    made, _, tables = joined(store, "parquet")
    table = pq.read_table(store.path(made.name))
    assert table.schema.equals(tables[0].schema)
    assert table.to_pylist() == pa.concat_tables(tables).to_pylist()
    assert pq.read_metadata(store.path(made.name)).num_row_groups == 1


def test_lines_are_joined_byte_by_byte(store):
    made, before, _ = joined(store, "jsonl")
    assert store.open_input(made.name).read() == b"".join(before)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_pieces_with_other_rows_than_their_receipts_say_are_not_joined(store, kind):
    files = pieces(store, kind)
    off = [StoredFile(files[0].name, files[0].rows + 1, files[0].bytes), *files[1:]]
    (made,) = plan_joins(off, 1 << 20)
    with pytest.raises(JobError, match="expected 51 rows in its pieces, found 50"):
        join.execute(store, made)
    assert not store.exists(made.name)
    assert all(store.exists(file.name) for file in files)


@hypothesis.given(
    sizes=st.lists(st.integers(1, 100), max_size=60), folders=st.lists(st.booleans(), max_size=60)
)
def test_each_part_has_half_of_the_size_or_up_to_one_and_a_half_times_of_it(sizes, folders):
    files = [
        StoredFile(f"{'_audit/' * away}part-{n:06d}-0000-accepted-x.parquet", n, size)
        for n, (size, away) in enumerate(zip(sizes, folders, strict=False))
    ]
    joins = plan_joins(files, 100)
    size_of = {file.name: file.bytes for file in files}
    within = {piece for one in joins for piece in one.pieces}
    parts = [
        *((one.name, sum(size_of[piece] for piece in one.pieces)) for one in joins),
        *((file.name, file.bytes) for file in files if file.name not in within),
    ]
    assert sum(size for _, size in parts) == sum(size_of.values())
    assert all(size <= 150 for _, size in parts)
    for folder in ("", "_audit"):
        own = sorted(part for part in parts if part[0].rpartition("/")[0] == folder)
        assert all(size >= 50 for _, size in own[:-1])


@pytest.mark.parametrize(
    ("given", "bytes_"),
    [("512MB", 512_000_000), ("64MiB", 64 << 20), ("1.5 kb", 1500), ("33554432", 32 << 20)],
)
def test_a_size_has_a_unit_or_is_plain(given, bytes_):
    assert Size(given) == bytes_
