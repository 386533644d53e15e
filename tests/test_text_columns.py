"""Texts in columns, in structs and in lists."""

import pyarrow as pa
import pytest

from tango_beam import text_columns

TEXT = pa.string()
MESSAGES = [
    [{"content": "a"}, {"content": "b"}],
    [],
    None,
    [None, {"content": None}],
    [{"content": "c"}],
]
FIRST, LAST = ["a", None, None, None, "c"], ["b", None, None, None, "c"]
MESSAGE = pa.struct([("role", TEXT), ("content", TEXT)])
LISTS = [pa.list_(MESSAGE), pa.large_list(MESSAGE)]


def extract(array, path):
    return text_columns.extract(pa.record_batch({path.split(".")[0]: array}), path)


def both(array, path, expected):
    """Extracts from the array, and from slices of it."""
    for start in range(len(expected)):
        for count in (len(expected) - start, 1):
            found = extract(array.slice(start, count), path)
            assert found.type == TEXT
            assert found.to_pylist() == expected[start : start + count]


@pytest.mark.parametrize("kind", LISTS, ids=str)
def test_a_path_leads_into_lists_of_structs(kind):
    array = pa.array(MESSAGES, kind)
    both(array, "m.0.content", FIRST)
    both(array, "m.-1.content", LAST)
    both(array, "m.1.content", ["b", None, None, None, None])
    both(array, "m.-3.content", [None] * 5)
    both(array, "m.999999999.content", [None] * 5)


def test_a_null_list_with_values_behind_it_has_no_text():
    mask = pa.array([False, True, False])
    array = pa.ListArray.from_arrays([0, 1, 2, 3], pa.array(["a", "hidden", "c"]), mask=mask)
    both(array, "m.0", ["a", None, "c"])


def test_a_path_leads_into_lists_of_one_size():
    array = pa.array([["a", "b"], None, ["c", None]], pa.list_(TEXT, 2))
    both(array, "m.0", ["a", None, "c"])
    both(array, "m.-1", ["b", None, None])
    both(array, "m.2", [None, None, None])


def test_a_path_leads_into_structs_and_a_null_struct_has_no_text():
    array = pa.array([{"d": {"t": "a"}}, {"d": None}, None, {"d": {"t": None}}, {"d": {"t": "b"}}])
    both(array, "x.d.t", ["a", None, None, None, "b"])
    null = pa.StructArray.from_arrays(
        [pa.array(["a", "hidden"])], names=["t"], mask=pa.array([False, True])
    )
    both(null, "x.t", ["a", None])


def test_a_path_leads_through_lists_of_lists_and_structs_of_lists():
    both(pa.array([[["a"], ["b", "c"]], [[]], []]), "x.-1.-1", ["c", None, None])
    both(pa.array([{"p": ["a", "b"]}, {"p": []}, None]), "x.p.1", ["b", None, None])


def test_a_column_that_bears_that_very_name_goes_first():
    batch = pa.record_batch({"a": pa.array([{"b": "inside"}]), "a.b": ["column"]})
    assert text_columns.extract(batch, "a.b").to_pylist() == ["column"]
    assert text_columns.root_of(["a", "a.b"], "a.b.c") == "a.b"
    assert text_columns.root_of(["a.b"], "a") is None
    deeper = pa.record_batch({"a.b": pa.array([{"c": "x"}])})
    assert text_columns.extract(deeper, "a.b.c").to_pylist() == ["x"]


BYTES = [b"a", None, b"\xff", "é".encode()]
KINDS = [
    pa.array(BYTES, pa.binary()),
    pa.array(BYTES, pa.large_binary()),
    pa.array(BYTES, pa.binary_view()),
    pa.array(BYTES, pa.binary()).dictionary_encode(),
    pa.array(BYTES, pa.binary()).view(TEXT),
    pa.array(BYTES, pa.large_binary()).view(pa.large_string()),
    pa.array(BYTES, pa.binary()).view(TEXT).cast(pa.string_view()),
    pa.array(BYTES, pa.binary()).view(TEXT).dictionary_encode(),
    pa.ExtensionArray.from_storage(pa.json_(), pa.array(BYTES, pa.binary()).view(TEXT)),
]


@pytest.mark.parametrize("array", KINDS, ids=lambda array: str(array.type))
def test_bytes_and_all_kinds_of_strings_are_texts_and_bad_bytes_stay(array):
    assert text_columns.is_text(array.type)
    for some, expected in ((array, BYTES), (array.slice(1, 2), BYTES[1:3])):
        found = extract(some, "t")
        assert found.type == TEXT
        assert found.cast(pa.binary()).to_pylist() == expected
        nested = pa.StructArray.from_arrays([some], names=["t"])
        assert extract(nested, "x.t").cast(pa.binary()).to_pylist() == expected


@pytest.mark.parametrize("kind", [pa.int64(), pa.binary(4), pa.null(), pa.uuid(), pa.list_(TEXT)])
def test_other_types_are_no_texts(kind):
    assert not text_columns.is_text(kind)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nope.a", "no such column"),
        ("s.x", "no such column, since s has no field x: it holds struct<t: string>"),
        ("l.x", "no such column, since l is a list, whose items are 0, 1, ... or -1, ..."),
        ("l.0.x", "no such column, since l.0 has no field x: it holds struct<t: string>"),
        (
            "m.x",
            "no such column, since a path leads into structs and lists, and m is map<string, int8>",
        ),
        (
            "s.t.x",
            "no such column, since a path leads into structs and lists, and s.t is string",
        ),
    ],
)
def test_a_path_that_leads_nowhere_is_explained(path, why):
    inner = pa.struct([("t", TEXT)])
    schema = pa.schema([("s", inner), ("l", pa.list_(inner)), ("m", pa.map_(TEXT, pa.int8()))])
    assert text_columns.type_of(schema, path) is None
    assert text_columns.explain(schema, path) == why
    assert text_columns.type_of(schema, "l.-1.t") == TEXT
