"""Parquet as other software writes it: what comes out of the reader and of samples."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tango_beam import record_columns
from tango_beam.errors import RefusedError
from tango_beam.io import inputs, sample
from tango_beam.io.labelled import read_labelled
from tango_beam.io.slice_reader import SliceReader

TEXT, VIEW, I64 = pa.string(), pa.string_view(), pa.int64()
FAR = dt.datetime(9999, 12, 31)
BAD = pa.array([b"ok", b"\xff"]).view(TEXT)


def write(path, columns, **options):
    path.parent.mkdir(exist_ok=True)
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, **options)
    return path


def inspect(*patterns, texts=("text",), **options):
    return inputs.inspect([str(pattern) for pattern in patterns], texts, **options)


def read(given):
    """Good rows as the input's columns, and the reasons of the dead ones."""
    pieces = list(SliceReader(given).read_all())
    good = [piece.good.select(given.schema.names) for piece in pieces if piece.good is not None]
    assert all(batch.schema == given.schema for batch in good)
    dead = [piece.dead.column(record_columns.ERROR) for piece in pieces if piece.dead is not None]
    return pa.Table.from_batches(good, given.schema), [
        str(error) for some in dead for error in some
    ]


def drawn(given, *columns):
    """The rows of a sample of the whole input, ordered by their texts."""
    return sample.draw(given, ["text", *columns], 10_000, 1.0, 0).rows.sort_by("text")


def value(kind, array):
    return pa.array([array, None], kind)


OLD_TIMES = {
    "flat": value(pa.timestamp("us"), FAR),
    "early": value(pa.timestamp("us"), dt.datetime(1, 1, 1)),
    "zone": value(pa.timestamp("us", "UTC"), FAR.replace(tzinfo=dt.UTC)),
    "list": value(pa.list_(pa.timestamp("us")), [FAR, None]),
    "struct": value(pa.struct([("t", pa.timestamp("us"))]), {"t": FAR}),
    "map": value(pa.map_(TEXT, pa.timestamp("us")), [("k", FAR)]),
}


@pytest.mark.parametrize("stored", [True, False], ids=["arrow", "spark"])
@pytest.mark.parametrize("array", OLD_TIMES.values(), ids=OLD_TIMES)
def test_old_timestamps_keep_their_year(tmp_path, array, stored):
    columns = {"text": ["a", "b"], "when": array}
    old = {"use_deprecated_int96_timestamps": True, "store_schema": stored}
    given = inspect(write(tmp_path / "a.parquet", columns, **old))
    expected = [str(moment).replace("+00:00", "") for moment in array.to_pylist()]
    for table in (read(given)[0], drawn(given, "when")):
        assert [str(moment) for moment in table["when"].to_pylist()] == expected


NESTED_BAD = {
    "string": BAD,
    "large string": pa.array([b"ok", b"\xff"], pa.large_binary()).view(pa.large_string()),
    "view": BAD.cast(VIEW),
    "dictionary": BAD.dictionary_encode(),
    "json": pa.ExtensionArray.from_storage(pa.json_(), BAD),
    "list": pa.ListArray.from_arrays([0, 1, 2], BAD),
    "list of views": pa.ListArray.from_arrays([0, 1, 2], BAD.cast(VIEW)),
    "fixed list": pa.FixedSizeListArray.from_arrays(BAD, 1),
    "large list": pa.LargeListArray.from_arrays(pa.array([0, 1, 2], I64), BAD),
    "struct": pa.StructArray.from_arrays([BAD], names=["x"]),
    "map keys": pa.MapArray.from_arrays([0, 1, 2], BAD, pa.array([1, 2])),
    "map values": pa.MapArray.from_arrays([0, 1, 2], pa.array(["a", "b"]), BAD),
    "deep": pa.ListArray.from_arrays([0, 1, 2], pa.StructArray.from_arrays([BAD], names=["x"])),
    "list of dictionaries": pa.ListArray.from_arrays([0, 1, 2], BAD.dictionary_encode()),
}


@pytest.mark.parametrize("array", NESTED_BAD.values(), ids=NESTED_BAD)
def test_a_row_with_bytes_that_are_no_utf8_is_dead_wherever_they_stand(tmp_path, array):
    given = inspect(write(tmp_path / "a.parquet", {"text": ["a", "b"], "c": array}))
    table, dead = read(given)
    assert table["text"].to_pylist() == ["a"]
    assert dead == ["column 'c': expected UTF-8, found other bytes"]
    assert drawn(given, "c")["text"].to_pylist() == ["a"]
    # A column that is not read does not matter.
    assert read(inspect(tmp_path, columns=["text"]))[1] == []
    with pytest.raises(RefusedError, match="row 1: column 'c': expected UTF-8, found other bytes"):
        read_labelled([str(tmp_path)], ["text"], "c")


def test_good_nested_strings_are_no_reason(tmp_path):
    lists = pa.array([["é"], None, []])
    given = inspect(write(tmp_path / "a.parquet", {"text": ["a", "b", "c"], "c": lists}))
    assert read(given)[0]["c"].to_pylist() == lists.to_pylist()


PASSING = {
    "list of views": pa.array([["a"], None, ["b", None]], pa.list_(VIEW)),
    "struct of views": pa.array([{"x": "a"}, None, {"x": None}], pa.struct([("x", VIEW)])),
    "map of views": pa.array([[("a", "b")], None, []], pa.map_(VIEW, pa.binary_view())),
    "list view": pa.array([[1], None, [2, 3]], pa.list_view(I64)),
    "list views of views": pa.array([["a"], None, []], pa.large_list_view(VIEW)),
    "list of list views": pa.array([[["a"]], None, [[]]], pa.list_(pa.list_view(VIEW))),
    "fixed list of views": pa.array([["a"], ["b"], [None]], pa.list_(VIEW, 1)),
    "long dictionary": pa.DictionaryArray.from_arrays(pa.array([0, None, 1], I64), ["a", "b"]),
    "list of dictionaries": pa.ListArray.from_arrays(
        [0, 1, 2, 3], pa.array(["a", None, "a"]).dictionary_encode()
    ),
    "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["1", None, "{}"])),
    "json view": pa.ExtensionArray.from_storage(pa.json_(VIEW), pa.array(["1", None, "{}"], VIEW)),
    "uuid": pa.array([b"0" * 16, None, b"1" * 16], pa.uuid()),
    "list of uuid": pa.ListArray.from_arrays([0, 1, None, 1], pa.array([b"0" * 16], pa.uuid())),
    "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, None, 1], pa.int8())),
    "null": pa.nulls(3),
    "list of null": pa.array([[None], None, []], pa.list_(pa.null())),
    "float16": pa.array([np.float16(1), None, np.float16(2)], pa.float16()),
    "decimal256": pa.array([Decimal(1), None, Decimal(2)], pa.decimal256(50, 2)),
    "decimal32": pa.array([Decimal(1), None, Decimal(2)], pa.decimal32(5, 2)),
    "duration": pa.array([1, None, 2], pa.duration("s")),
    "time": pa.array([1, None, 2], pa.time32("ms")),
}


@pytest.mark.parametrize("array", PASSING.values(), ids=PASSING)
def test_every_type_that_parquet_holds_passes_also_beside_dead_rows(tmp_path, array):
    columns = {"text": ["b", None, "a"], "c": array}
    given = inspect(write(tmp_path / "a.parquet", columns))
    table, dead = read(given)
    assert len(dead) == 1
    assert table["c"].to_pylist() == [array[0].as_py(), array[2].as_py()]
    assert drawn(given, "c")["c"].to_pylist() == [array[2].as_py(), array[0].as_py()]
    write(tmp_path / "out.parquet", table)  # as the job does


CORPORA = {
    "strings": (pa.array(["x"]), pa.array(["y"], pa.large_string()), ["x", "y"]),
    "null": (pa.nulls(1), pa.array(["y"]), [None, "y"]),
    "integers": (pa.array([1], pa.int32()), pa.array([2**40]), [1, 2**40]),
    "lacking": (None, pa.array([2]), [None, 2]),
    "dictionary": (pa.array(["x"]).dictionary_encode(), pa.array(["y"]), ["x", "y"]),
    "two dictionaries": (
        pa.array(["x"]).dictionary_encode(),
        pa.array(["y"]).cast(pa.dictionary(I64, TEXT)),
        ["x", "y"],
    ),
    "view": (pa.array(["x"], VIEW), pa.array(["y"]), ["x", "y"]),
    "lists": (pa.array([["x"]], pa.large_list(TEXT)), pa.array([["y"]]), [["x"], ["y"]]),
    "list view": (pa.array([[1]], pa.list_view(pa.int32())), pa.array([[2]]), [[1], [2]]),
    "structs": (
        pa.array([{"a": 1}]),
        pa.array([{"b": "x", "a": 2}]),
        [{"a": 1, "b": None}, {"a": 2, "b": "x"}],
    ),
    "units": (
        pa.array([FAR], pa.timestamp("ms")),
        pa.array([FAR], pa.timestamp("us")),
        [FAR, FAR],
    ),
    "bytes": (pa.array([b"x"]), pa.array(["y"]), [b"x", b"y"]),
    "values that fit": (pa.array([2**53]), pa.array([0.5]), [float(2**53), 0.5]),
    "times that fit": (
        pa.array([dt.datetime(2024, 1, 1)], pa.timestamp("us")),
        pa.array([1000], pa.timestamp("ns")),
        [dt.datetime(2024, 1, 1), dt.datetime(1970, 1, 1, 0, 0, 0, 1)],
    ),
    "unsigned": (pa.array([7], pa.uint64()), pa.array([-7]), [7, -7]),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("corpus", CORPORA.values(), ids=CORPORA)
def test_files_that_differ_without_loss_are_one_corpus(tmp_path, corpus, turned):
    first, second, expected = corpus
    one = {"text": ["a"], "c": first} if first is not None else {"text": ["a"]}
    two = {"c": second, "text": pa.array(["b"], pa.large_string())}  # in another order
    for name, columns in zip("yx" if turned else "xy", (one, two), strict=True):
        write(tmp_path / f"{name}.parquet", columns)
    given = inspect(tmp_path)
    assert any(note.startswith("column c: ") for note in given.notes) or first.type == VIEW
    for table in (read(given)[0].sort_by("text"), drawn(given, "c")):
        assert table["text"].to_pylist() == ["a", "b"]
        assert table["c"].to_pylist() == expected
    assert read(inspect(tmp_path, columns=["text"]))[0].num_rows == 2


DIFFERENT = {
    "text and number": (pa.array(["x"]), pa.array([1])),
    "long numbers": (pa.array([2**53 + 1]), pa.array([0.5])),
    "late times": (pa.array([FAR], pa.timestamp("us")), pa.array([1], pa.timestamp("ns"))),
    "zone": (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC"))),
    "nested": (pa.array([{"a": 1}]), pa.array([{"a": "x"}])),
    "numbers in lists": (pa.array([[1]]), pa.array([[0.5]])),
}


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_files_that_cannot_be_reconciled_are_refused_unless_the_column_is_left_out(tmp_path, pair):
    for name, array in zip("ab", pair, strict=True):
        write(tmp_path / f"{name}.parquet", {"text": [name], "c": array})
    one, other = (str(array.type).replace("item", "element") for array in pair)
    with pytest.raises(RefusedError) as refused:
        inspect(tmp_path)
    assert str(refused.value).startswith("column c: expected ")
    assert f"{one} in {tmp_path}/a.parquet and {other} in {tmp_path}/b.p" in str(refused.value)
    assert "--columns" in str(refused.value)
    assert read(inspect(tmp_path, columns=["text"]))[0]["text"].to_pylist() == ["a", "b"]


def test_extremes_are_read_off_every_row_group_and_their_lack_means_no(tmp_path):
    write(tmp_path / "f.parquet", {"text": ["x"], "n": [0.5]})
    longs = {"text": ["a", "b", "c"], "n": [1, None, 2**53 + 1]}
    for rows, options in ((3, {}), (1, {}), (1, {"write_statistics": False})):
        write(tmp_path / "i.parquet", longs, row_group_size=rows, **options)
        with pytest.raises(RefusedError, match="column n"):
            inspect(tmp_path)
    write(tmp_path / "i.parquet", {**longs, "n": pa.array([1, None, 2])}, row_group_size=1)
    assert sorted(read(inspect(tmp_path))[0]["n"].drop_null().to_pylist()) == [0.5, 1.0, 2.0]


def test_an_index_that_some_files_hold_is_an_ordinary_column(tmp_path):
    write(tmp_path / "a.parquet", {"text": ["a"], "__index_level_0__": [7]})
    write(tmp_path / "b.parquet", {"text": ["b"]})
    given = inspect(tmp_path)
    assert read(given)[0]["__index_level_0__"].to_pylist() == [7, None]
    b = tmp_path / "b.parquet"
    assert given.notes == (f"column __index_level_0__: null in 1 of 2 files, which lack it ({b})",)


def test_a_file_without_the_texts_is_refused(tmp_path):
    write(tmp_path / "a.parquet", {"text": ["a"]})
    write(tmp_path / "b.parquet", {"body": ["b"]})
    message = r"--text_column text: no such column in .*b\.parquet; found body \(string\)"
    with pytest.raises(RefusedError, match=message):
        inspect(tmp_path)


def test_files_whose_texts_lie_in_different_places_are_refused(tmp_path):
    write(tmp_path / "a.parquet", {"doc": pa.array([{"text": "a"}])})
    write(tmp_path / "b.parquet", {"doc.text": ["b"]})
    with pytest.raises(
        RefusedError, match=r"a\.parquet: expected a column doc\.text, .* found doc"
    ):
        inspect(tmp_path, texts=["doc.text"])
    write(tmp_path / "b.parquet", {"doc": pa.array([{"body": "b"}])})
    message = r"doc\.text: no such column, since doc has no field text: it .*b\.parquet"
    with pytest.raises(RefusedError, match=message):
        inspect(tmp_path, texts=["doc.text"])


@pytest.mark.parametrize("groups", [1, 0])
def test_a_file_without_rows_says_nothing(tmp_path, groups):
    write(tmp_path / "a.parquet", {"text": ["a", "b"], "n": [1, 2]})
    empty = pa.schema([("text", pa.null()), ("n", TEXT)])
    with pq.ParquetWriter(tmp_path / "0.parquet", empty) as writer:
        if groups:
            writer.write_table(empty.empty_table())
    given = inspect(tmp_path)
    assert given.notes == () and given.schema.field("n").type == I64
    assert read(given)[0].num_rows == 2 == drawn(given).num_rows
    assert read(inspect(tmp_path, limit=1))[0]["n"].to_pylist() == [1]
    write(tmp_path / "0.parquet", {"text": pa.array([], TEXT)})
    alone = inspect(tmp_path / "0.parquet")
    assert read(alone)[0].num_rows == 0 == drawn(alone).num_rows


@pytest.mark.parametrize("columns", [None, ["a.b"], ["a"], ["a.b.c"]])
def test_names_with_dots_are_told_from_fields(tmp_path, columns):
    table = {"text": ["t"], "a": pa.array([{"b": 1, "c": 2}]), "a.b": ["x"], "a.b.c": [0.5]}
    expected = {"a": {"b": 1, "c": 2}, "a.b": "x", "a.b.c": 0.5}
    given = inspect(write(tmp_path / "a.parquet", table), columns=columns)
    names = [name for name in given.schema.names if name != "text"]
    assert names == (columns or list(expected))
    for rows in (read(given)[0], drawn(given, *names)):
        assert rows.select(names).to_pylist() == [{name: expected[name] for name in names}]
    write(tmp_path / "b.parquet", {"text": ["u"], "a.b": [None]})
    assert read(inspect(tmp_path, columns=columns))[0].num_rows == 2


BYTES = [b"a", b"\xff", None, "é".encode()]
BYTE_TYPES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(I64, pa.binary())]


@pytest.mark.parametrize("kind", BYTE_TYPES, ids=str)
def test_texts_may_be_stored_as_bytes_which_pass_as_they_are(tmp_path, kind):
    texts = pa.array(BYTES, pa.binary())
    texts = texts.dictionary_encode() if pa.types.is_dictionary(kind) else texts.cast(kind)
    given = inspect(write(tmp_path / "a.parquet", {"text": texts, "label": [*"xyzx"]}))
    good = [piece.good for piece in SliceReader(given).read_all()]
    table = pa.Table.from_batches(good)
    assert table["text"].to_pylist() == [b"a", "é".encode()]
    assert table[given.texts[0]].to_pylist() == ["a", "é"]
    assert read(given)[1] == [
        "column 'text': expected UTF-8, found other bytes",
        "column 'text': expected a text, found null",
    ]
    assert drawn(given, "label")["text"].to_pylist() == ["a", "é"]
    write(
        tmp_path / "a.parquet", {"text": pa.concat_arrays([texts[:1], texts[3:]]), "label": [*"xy"]}
    )
    assert read_labelled([str(tmp_path)], ["text"], "label").texts.to_pylist() == ["a", "é"]


def test_texts_that_are_bytes_in_one_file_and_strings_in_another_are_strings(tmp_path):
    write(tmp_path / "a.parquet", {"text": pa.array([b"a", b"\xff"], pa.large_binary())})
    write(tmp_path / "b.parquet", {"text": ["b"]})
    write(tmp_path / "c.parquet", {"text": pa.array([b"c"]).dictionary_encode()})
    given = inspect(tmp_path)
    assert given.schema.field("text").type == pa.large_string()
    table, dead = read(given)
    assert table["text"].to_pylist() == ["a", "b", "c"] == drawn(given)["text"].to_pylist()
    assert dead == ["column 'text': expected UTF-8, found other bytes"]


MESSAGES = pa.list_(pa.struct([("role", TEXT), ("content", TEXT)]))
INSIDE = {
    "doc.text": pa.array([{"text": "a"}, None, {"text": "b"}]),
    "m.0.content": pa.array([[{"content": "a"}], [], [{"content": "b"}, None]], MESSAGES),
    "m.-1.content": pa.array([[{}, {"content": "a"}], None, [{"content": "b"}]], MESSAGES),
    "m.-1": pa.array([["x", "a"], None, ["b"]], pa.large_list(VIEW)),
    "v.0": pa.array([["a"], [], ["b"]], pa.list_view(VIEW)),
    "raw.t": pa.array([{"t": b"a"}, {"t": b"\xff"}, {"t": b"b"}]),
}


@pytest.mark.parametrize("path", INSIDE)
def test_texts_may_lie_inside_columns(tmp_path, path):
    column = INSIDE[path]
    root = path.split(".")[0]
    file = write(tmp_path / "a.parquet", {"n": range(3), root: column}, row_group_size=2)
    given = inspect(file, texts=[path])
    table = pa.Table.from_batches([piece.good for piece in SliceReader(given).read_all()])
    assert table["n"].to_pylist() == [0, 2]
    assert table[record_columns.TEXTS[0]].to_pylist() == ["a", "b"]
    assert table[root].to_pylist() == [column[0].as_py(), column[2].as_py()]
    (error,) = read(given)[1]
    assert error.startswith(f"column {path!r}: expected ")
    rows = sample.draw(given, [path, "n"], 9, 1.0, 0).rows
    assert sorted(zip(rows["n"].to_pylist(), rows[path].to_pylist(), strict=True)) == [
        (0, "a"),
        (2, "b"),
    ]
    write(tmp_path / "a.parquet", {"n": [0, 2], root: pa.concat_arrays([column[:1], column[2:]])})
    assert read_labelled([str(tmp_path)], [path], "n").texts.to_pylist() == ["a", "b"]


def test_a_path_into_a_map_is_refused(tmp_path):
    write(tmp_path / "a.parquet", {"m": pa.array([[("k", "v")]], pa.map_(TEXT, TEXT))})
    message = (
        "--text_column m.k: no such column, since a path leads into structs and lists, and m is"
    )
    with pytest.raises(RefusedError, match=message):
        inspect(tmp_path, texts=["m.k"])


def test_labels_may_differ_in_type_between_files(tmp_path):
    write(tmp_path / "a.parquet", {"text": ["a"], "label": pa.array(["x"]).dictionary_encode()})
    write(tmp_path / "b.parquet", {"text": ["b"], "label": ["y"], "more": [1]})
    assert read_labelled([str(tmp_path)], ["text"], "label").labels == ("x", "y")
    write(tmp_path / "b.parquet", {"text": ["b"], "label": [1]})
    with pytest.raises(RefusedError, match=r"column label: .* with --label_column, or give"):
        read_labelled([str(tmp_path)], ["text"], "label")
