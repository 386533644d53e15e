"""Which types have one that holds them all without loss, and batches brought into it."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tango_beam.errors import RefusedError
from tango_beam.io.unify import conform, plain, plain_type, unify, widest

TEXT, LARGE, VIEW = pa.string(), pa.large_string(), pa.string_view()
I32, I64, F64 = pa.int32(), pa.int64(), pa.float64()
UTC = pa.timestamp("us", "UTC")


def dictionary(values, index=I32):
    return pa.dictionary(index, values)


def struct(**fields):
    return pa.struct(list(fields.items()))


WIDENED = [
    (TEXT, LARGE, LARGE),
    (TEXT, pa.null(), TEXT),
    (I32, I64, I64),
    (pa.int8(), pa.uint32(), I64),
    (I32, pa.float32(), F64),
    (I64, pa.decimal128(10, 2), pa.decimal128(21, 2)),
    (pa.decimal128(10, 2), pa.decimal128(12, 4), pa.decimal128(12, 4)),
    (TEXT, pa.binary(), pa.binary()),
    (TEXT, dictionary(TEXT), TEXT),
    (LARGE, dictionary(TEXT), LARGE),
    (dictionary(TEXT), dictionary(TEXT, pa.int8()), TEXT),
    (dictionary(TEXT), pa.null(), dictionary(TEXT)),
    (pa.json_(), TEXT, TEXT),
    (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("us")),
    (UTC, pa.timestamp("ms", "Europe/Paris"), UTC),
    (pa.date32(), pa.date64(), pa.date64()),
    (pa.list_(I32), pa.large_list(I64), pa.large_list(I64)),
    (pa.list_(I32, 2), pa.list_(I32, 3), pa.list_(I32)),
    (pa.list_(I32, 2), pa.list_(I64, 2), pa.list_(I64, 2)),
    (pa.list_(pa.null()), pa.list_(struct(a=TEXT)), pa.list_(struct(a=TEXT))),
    (struct(a=I32), struct(b=TEXT, a=I64), struct(a=I64, b=TEXT)),
    (struct(s=struct(a=I32)), struct(s=struct(b=I32)), struct(s=struct(a=I32, b=I32))),
    (pa.map_(TEXT, I32), pa.map_(LARGE, I64), pa.map_(LARGE, I64)),
]
LOSSY = [
    (I64, F64),
    (I64, pa.uint64()),
    (I32, TEXT),
    (pa.bool_(), I32),
    (pa.decimal128(10, 2), F64),
    (pa.timestamp("s"), pa.timestamp("ns")),
    (pa.timestamp("us"), pa.timestamp("ns")),
    (pa.timestamp("us"), UTC),
    (pa.date32(), pa.timestamp("us")),
    (pa.list_(I64), pa.list_(F64)),
    (pa.list_(TEXT), TEXT),
    (struct(a=I64), struct(a=TEXT)),
    (struct(a=I64), pa.map_(TEXT, I64)),
    (pa.map_(TEXT, I64), pa.map_(TEXT, F64)),
    (pa.uuid(), pa.binary(16)),
]


@pytest.mark.parametrize(("one", "other", "wide"), WIDENED)
def test_types_widen_to_the_narrowest_that_holds_both(one, other, wide):
    assert widest([one, other]) == wide
    assert widest([wide, other, one]) == wide
    for kind in (one, other):
        batch = conform(pa.record_batch({"c": pa.nulls(2, kind)}), pa.schema([("c", wide)]))
        assert batch.column("c").type == wide and batch.column("c").null_count == 2


@pytest.mark.parametrize(("one", "other"), LOSSY)
def test_types_that_would_cost_a_value_do_not_widen(one, other):
    assert widest([one, other]) is None is widest([other, one])


def test_the_order_of_three_types_does_not_matter():
    kinds = [pa.uint32(), I32, pa.float32()]  # the first two alone give int64
    assert {widest(kinds), widest(kinds[::-1])} == {F64}


@given(st.lists(st.sampled_from([pa.int8(), pa.uint8(), pa.int16(), pa.uint32(), I64]), min_size=1))
def test_integers_keep_their_extremes(kinds):
    wide = widest(kinds)
    for kind in kinds:
        info = np.iinfo(str(kind))
        ends = [int(info.min), int(info.max)]
        batch = conform(pa.record_batch({"c": pa.array(ends, kind)}), pa.schema([("c", wide)]))
        assert batch.column("c").to_pylist() == ends


def test_what_is_unified_and_what_is_lacking_is_said_in_a_line_each():
    schemas = {
        "a": pa.schema([("text", TEXT), ("n", I32)]),
        "b": pa.schema([("n", I64), ("text", VIEW), ("extra", TEXT)]),
        "c": pa.schema([("text", TEXT), ("n", I64)]),
    }
    schema, notes = unify(schemas)
    assert schema == pa.schema([("text", TEXT), ("n", I64), ("extra", TEXT)])
    assert notes == (
        "column n: int64, since files hold int32 and int64 (a, b)",
        "column extra: null in 2 of 3 files, which lack it (a, c)",
    )
    same = pa.schema([("text", TEXT)])
    assert unify({"a": same, "b": same}) == (same, ())
    names = (pa.list_(pa.field(name, I64)) for name in ("item", "element"))
    assert unify({str(n): pa.schema([("l", kind)]) for n, kind in enumerate(names)})[1] == ()
    many = {str(n): same for n in range(9)} | {"z": pa.schema([("text", TEXT), ("m", I64)])}
    assert unify(many)[1] == ("column m: null in 9 of 10 files, which lack it (0, 1, 2, ...)",)


def test_what_cannot_be_unified_is_refused_with_both_files_types_and_the_way_out():
    schemas = {"a": pa.schema([("n", I64)]), "b": pa.schema([("n", I32)])}
    with pytest.raises(RefusedError) as refused:
        unify(schemas | {"c": pa.schema([("n", TEXT)])}, option="--label_column")
    assert str(refused.value) == (
        "column n: expected types that one type holds without loss, found int64 in a and string "
        "in c; leave it out with --label_column, or give both files one type"
    )
    with pytest.raises(RefusedError, match="int64 in a and double in b; "):
        unify({"a": pa.schema([("n", I64)]), "b": pa.schema([("n", F64)])})
    # Whoever knows the values may know more.
    asked = []

    def fits(path, name, kind):
        asked.append((path, name, kind))
        return True

    schema, _ = unify({"a": pa.schema([("n", I64)]), "b": pa.schema([("n", F64)])}, fits)
    assert schema.field("n").type == F64 and asked == [("a", "n", F64)]


def test_a_batch_is_brought_into_the_schema():
    batch = pa.record_batch({"n": pa.array([1], I32), "other": [2], "text": ["a"]})
    schema = pa.schema([("text", LARGE), ("extra", struct(a=I64)), ("n", F64)])
    conformed = conform(batch, schema)
    assert conformed.schema == schema
    assert conformed.to_pylist() == [{"text": "a", "extra": None, "n": 1.0}]
    assert conform(conformed, schema) is conformed
    with pytest.raises(pa.ArrowInvalid):
        conform(pa.record_batch({"n": [2**53 + 1]}), pa.schema([("n", F64)]))


def test_values_are_the_same_in_the_wider_type():
    far = dt.datetime(9999, 12, 31)
    pairs = [
        (pa.array([far], pa.timestamp("ms")), pa.timestamp("us")),
        (pa.array([-(2**63), 2**63 - 1]), pa.decimal128(21, 2)),
        (pa.array([[{"a": 1}], None, []]), pa.list_(struct(b=TEXT, a=F64))),
        (pa.array(["a", None]).dictionary_encode(), LARGE),
        (pa.array([Decimal("1.25")]), pa.decimal128(12, 4)),
    ]
    for array, kind in pairs:
        (column,) = conform(pa.record_batch({"c": array}), pa.schema([("c", kind)]))
        expected = array.to_pylist()
        if expected[0] == [{"a": 1}]:
            expected = [[{"b": None, "a": 1.0}], None, []]
        assert column.to_pylist() == expected
    paris = pa.array([far.replace(year=2024)], pa.timestamp("us")).cast(UTC)
    paris = paris.cast(pa.timestamp("us", "Europe/Paris"))
    assert pc.equal(conform(pa.record_batch({"c": paris}), pa.schema([("c", UTC)]))[0], paris)[0]


VIEWS = [
    pa.array(["a", None, "b"], VIEW),
    pa.array([b"a", None, b"b"], pa.binary_view()),
    pa.array([["a"], None, [], ["b", None]], pa.list_(VIEW)),
    pa.array([["a"], None, ["b"]], pa.list_(VIEW, 1)),
    pa.array([{"x": "a"}, None, {"x": None}], struct(x=VIEW)),
    pa.array([[("a", "b")], None, [], [("c", None)]], pa.map_(VIEW, VIEW)),
    pa.array([["a"], None, [], ["b"]], pa.list_view(VIEW)),
    pa.array([[1], None, [], [2, 3]], pa.large_list_view(I64)),
    pa.array([[["a"]], None, [], [["b"], None]], pa.list_(pa.list_view(VIEW))),
    pa.array([[["a"]], None, [], [["b"], None]], pa.list_view(pa.large_list_view(VIEW))),
    pa.array([{"x": ["a"]}, None, {"x": None}], struct(x=pa.list_view(VIEW))),
    pa.array([[("a", ["b"])], None, []], pa.map_(VIEW, pa.list_view(VIEW))),
    pa.array([[["a"]], [[None]]], pa.list_(pa.list_view(VIEW), 1)),
    pa.ExtensionArray.from_storage(pa.json_(VIEW), pa.array(["1", None], VIEW)),
]


@pytest.mark.parametrize("array", VIEWS, ids=lambda array: str(array.type))
def test_views_become_plain_at_any_depth(array):
    kind = plain_type(array.type)
    assert "view" not in str(kind)
    for some in (array, array.slice(1)):
        (column,) = conform(pa.record_batch({"c": some}), plain(pa.schema([("c", array.type)])))
        column.validate(full=True)
        assert column.to_pylist() == some.to_pylist()
        assert column.take(pa.array([0])).to_pylist() == some.to_pylist()[:1]


@pytest.mark.parametrize("kind", [pa.uuid(), pa.bool8(), pa.json_(), dictionary(TEXT, I64)])
def test_other_types_stay_as_they_are(kind):
    assert plain_type(kind) == kind
    assert plain_type(pa.list_(kind)) == pa.list_(kind)
