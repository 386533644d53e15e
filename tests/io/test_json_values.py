import datetime as dt
import decimal
import json

import pyarrow as pa
import pytest

from tango_beam.io.json_values import dump_rows, not_utf8


def dumped(array):
    return [json.loads(row)["x"] for row in dump_rows(pa.record_batch({"x": array}))]


def test_binary_is_base64():
    assert dumped(pa.array([b"\xff\x00", None])) == ["/wA=", None]


def test_decimals_keep_their_digits():
    kind = pa.decimal128(10, 2)
    assert dumped(pa.array([decimal.Decimal("1.10")], kind)) == ["1.10"]


def test_timestamps_are_iso_8601_with_nanoseconds_and_zone():
    stamps = pa.array([1_577_836_800_123_456_789], pa.timestamp("ns"))
    assert dumped(stamps) == ["2020-01-01T00:00:00.123456789"]
    assert dumped(stamps.cast(pa.timestamp("ns", "UTC"))) == ["2020-01-01T00:00:00.123456789Z"]
    assert dumped(pa.array([dt.date(2020, 1, 2)])) == ["2020-01-02"]
    assert dumped(pa.array([dt.time(1, 2, 3)])) == ["01:02:03.000000"]


def test_durations_are_integers_of_their_unit():
    assert dumped(pa.array([5], pa.duration("ms"))) == [5]


def test_float32_keeps_its_short_form():
    assert dumped(pa.array([0.3, None], pa.float32())) == [0.3, None]


def test_nested_values_are_treated_alike():
    stamp = pa.timestamp("ns")
    nested = pa.array(
        [{"t": [1], "b": b"a"}, None, {"t": None, "b": None}, {"t": [], "b": b""}],
        pa.struct([("t", pa.list_(stamp)), ("b", pa.binary())]),
    )
    expected = [
        {"t": ["1970-01-01T00:00:00.000000001"], "b": "YQ=="},
        None,
        {"t": None, "b": None},
        {"t": [], "b": ""},
    ]
    assert dumped(nested) == expected
    assert dumped(nested.slice(2, 2)) == expected[2:]


def test_maps_and_fixed_size_lists_are_treated_alike():
    pairs = pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.duration("s")))
    assert dumped(pairs) == [[{"key": "a", "value": 1}], None]
    pair = pa.array([[1, 2], None], pa.list_(pa.timestamp("ns"), 2))
    ends = ["1970-01-01T00:00:00.000000001", "1970-01-01T00:00:00.000000002"]
    assert dumped(pair) == [ends, None]


def test_invalid_utf8_deep_down_is_base64():
    deep = pa.ListArray.from_arrays([0, 2], pa.array([b"ok", b"\xff"]).view(pa.string()))
    assert dumped(deep) == [["ok", "/w=="]]


def test_dictionaries_are_decoded():
    assert dumped(pa.array(["a", "b", "a"]).dictionary_encode()) == ["a", "b", "a"]


def test_invalid_utf8_in_one_row_leaves_the_others_readable():
    column = pa.array([b"ok", b"\xff"]).view(pa.string())
    assert dumped(column) == ["ok", "/w=="]


BAD = pa.array([b"ok", b"\xff", None, b"\xc3", b"ok", b"\xff"]).view(pa.string())
OFFSETS = pa.array([0, 1, 2, 2, None, 4, 6], pa.int32())  # the fifth list is null
NESTED = {
    "list": (pa.ListArray.from_arrays(OFFSETS, BAD), [1, 3, 5]),
    "list of dictionaries": (pa.ListArray.from_arrays(OFFSETS, BAD.dictionary_encode()), [1, 3, 5]),
    "fixed list": (pa.FixedSizeListArray.from_arrays(BAD, 2), [0, 1, 2]),
    "struct": (pa.StructArray.from_arrays([pa.array(range(6)), BAD], names="ab"), [1, 3, 5]),
    "null struct": (
        pa.StructArray.from_arrays([BAD], names="a", mask=pa.array([False, True] * 3)),
        [],
    ),
    "map": (pa.MapArray.from_arrays(OFFSETS, pa.array(range(6)), BAD), [1, 3, 5]),
    "dictionary": (BAD.dictionary_encode(), [1, 3, 5]),
    "view": (BAD.cast(pa.string_view()), [1, 3, 5]),
    "json": (pa.ExtensionArray.from_storage(pa.json_(), BAD), [1, 3, 5]),
    "binary": (BAD.cast(pa.binary()), []),
}


@pytest.mark.parametrize(("array", "rows"), NESTED.values(), ids=NESTED)
def test_rows_with_a_string_that_is_no_utf8_are_found_at_any_depth(array, rows):
    for start in range(len(array)):
        for stop in range(start, len(array) + 1):
            expected = [row - start for row in rows if start <= row < stop]
            assert not_utf8(array.slice(start, stop - start)).tolist() == expected
