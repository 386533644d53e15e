"""Lines of JSON: every value comes out as it went in, and only a line without a text is dead."""

import json
import math
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from tango_beam import record_columns, text_columns
from tango_beam.errors import RefusedError
from tango_beam.io import json_objects, jsonl_columns, jsonl_own, jsonl_rows
from tango_beam.io.format import Asked
from tango_beam.io.json_members import add_columns
from tango_beam.io.planned import LineColumns
from tango_beam.record_columns import OutputColumns

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("id", pa.int64()),
        ("score", pa.float64()),
        ("flag", pa.bool_()),
        ("tags", pa.list_(pa.string())),
        ("meta", pa.struct([("stars", pa.int64())])),
    ]
)
ROW = {"text": "a", "id": 1, "score": 0.5, "flag": True, "tags": ["x"], "meta": {"stars": 2}}
GOOD = json.dumps(ROW).encode()
STRICT = LineColumns(SCHEMA, unknown="dead", misfits="dead")
KEEP = LineColumns(SCHEMA, extra="_extra")


def parse(data, columns=STRICT, offset=0, texts=("text",)):
    fields = [*columns.typed, *((name, pa.string()) for name in columns.as_json)]
    fields += [(columns.extra, pa.string())] if columns.extra else []
    return jsonl_rows.parse(data, offset, columns, pa.schema(fields), texts)


# No row, whatever becomes of keys and values that do not fit; and what the dead letter must say.
NO_ROW = {
    b"not json": "no JSON",
    b'{"text": "a"': "no JSON",
    b'{"text": "a"} {"text": "b"}': "no JSON",
    b'{"text": "\xff"}': "expected UTF-8, found byte 0xff",
    b'{"id": "\xff", "text": "a"}': "expected UTF-8, found byte 0xff",
    b'{"text": "\\ud800"}': "column 'text': expected a text, found string '\\ud800'",
    b'{"text": "a\tb"}': "no JSON",
    b'{"score": Inf}': "no JSON",
    b"[1]": "found array [1]",
    b'"text"': "found string 'text'",
    b"null": "found null",
    b'{"text": 5}': "column 'text': expected a text, found integer 5",
    b'{"text": ["a"]}': "column 'text': expected a text, found array ['a']",
    b'{"text": "a", "text": "b"}': "column 'text': expected a key once, found it twice",
    b'{"text": "a"}\x00': "no JSON",
    b"[" * 2000 + b"]" * 2000: "no JSON",
}
# No row only where they must fit; else their member is left over.
MISFIT = {
    b'{"id": "5"}': "column 'id': expected int64, found string '5'",
    b'{"id": 1.5}': "column 'id': expected int64, found number 1.5",
    b'{"id": true}': "column 'id': expected int64, found boolean True",
    b'{"id": NaN}': "column 'id': expected int64, found number nan",
    b'{"id": 9223372036854775808}': "expected int64, found integer 9223372036854775808",
    b'{"score": 9007199254740993}': "expected double, found integer 9007199254740993",
    b'{"score": "x"}': "column 'score'",
    b'{"flag": 1}': "column 'flag': expected bool, found integer 1",
    b'{"tags": "x"}': "column 'tags'",
    b'{"tags": [1]}': "column 'tags': expected list<",
    b'{"tags": ["\\ud800"]}': "column 'tags': expected list<",
    b'{"meta": {"moons": 1}}': "column 'meta': expected struct<",
    b'{"meta": {}}': "column 'meta': expected struct<",
    b'{"meta": {"stars": 1, "moons": 1}}': "column 'meta': expected struct<",
    b'{"meta": {"stars": 1, "stars": 2}}': "column 'meta': expected struct<",
    b'{"meta": []}': "column 'meta'",
    b'{"extra": 1}': "found the key 'extra'",
    b'{"id": 1, "id": 2}': "column 'id': expected a key once, found it twice",
}
BAD = NO_ROW | MISFIT


@pytest.mark.parametrize("line", BAD, ids=lambda line: repr(line[:24]))
def test_a_bad_line_is_apart_with_its_reason_and_its_mates_are_read(line):
    data = GOOD + b"\n" + line + b"\n" + GOOD + b"\n"
    parsed = parse(data, offset=100)
    assert parsed.batch.to_pylist() == [ROW, ROW]
    assert parsed.offsets.tolist() == [100, 100 + len(GOOD) + 1 + len(line) + 1]
    assert [(bad.offset, bad.raw) for bad in parsed.bad] == [(100 + len(GOOD) + 1, line)]
    assert BAD[line] in parsed.bad[0].error


@pytest.mark.parametrize("line", MISFIT, ids=lambda line: repr(line[:24]))
def test_what_fits_no_column_is_left_over_as_it_stands(line):
    parsed = parse(GOOD + b"\n" + line + b"\n", KEEP)
    assert not parsed.bad
    first, second = parsed.batch.to_pylist()
    assert first == {**ROW, "_extra": None}
    assert json_objects._PAIRS.decode(second["_extra"]) == json_objects._PAIRS.decode(
        line.decode()
    ) or "NaN" in str(line)
    assert {name for name, value in second.items() if value is not None} == {"_extra"}
    dropped = parse(line + b"\n", replace(KEEP, extra=None, unknown="drop", misfits="drop"))
    assert dropped.batch.to_pylist() == [dict.fromkeys(SCHEMA.names)]


@pytest.mark.parametrize("columns", [STRICT, KEEP], ids=["dead", "keep"])
@given(lines=st.lists(st.sampled_from([GOOD, b'{"text":"b"}', b"", b"  ", *BAD]), max_size=30))
@settings(deadline=None)
def test_a_lines_fate_does_not_hang_on_its_mates(columns, lines):
    whole = parse(b"".join(line + b"\n" for line in lines), columns)
    alone = [parse(line + b"\n", columns, offset=1) for line in lines]
    assert str(whole.batch.to_pylist()) == str([r for one in alone for r in one.batch.to_pylist()])
    assert [bad.raw for bad in whole.bad] == [bad.raw for one in alone for bad in one.bad]
    assert [bad.error for bad in whole.bad] == [bad.error for one in alone for bad in one.bad]
    rows = sum(bool(line.strip()) for line in lines)
    assert len(whole.offsets) + len(whole.bad) == rows


NUMBERS = st.integers() | st.floats() | st.integers(2**53 - 2, 2**53 + 2)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from(["id", "x", "a b", "m.n", 'q":', "é"]), VALUES)


def told(row, columns):
    """What a row of columns says of its line, as Python reads it."""
    line = json.loads(row["_extra"] or "{}")
    for name in columns.as_json:
        line |= {} if row[name] is None else {name: json.loads(row[name])}
    typed = {name: row[name] for name in columns.typed.names if row[name] is not None}
    return {name: value for name, value in (line | typed).items() if value is not None}


@given(st.lists(OBJECTS, min_size=1, max_size=8), st.integers(0, 8))
@settings(deadline=None)
def test_whatever_a_sample_did_not_show_a_row_says_all_that_its_line_says(rows, sampled):
    rows = [{"text": "a", **row} for row in json.loads(json.dumps(rows))]
    asked = Asked(("text",), output=OutputColumns())
    chosen = jsonl_columns.choose(rows[: sampled or 1], asked, "a.jsonl")
    data = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    parsed = jsonl_rows.parse(data, 0, chosen.lines, chosen.schema, ("text",))
    assert not parsed.bad and parsed.batch.schema == chosen.schema
    for row, line in zip(parsed.batch.to_pylist(), rows, strict=True):
        expected = {name: value for name, value in line.items() if value is not None}
        # By way of text, since NaN equals nothing; 1.0 beside 1 is the same number.
        assert dumped(told(row, chosen.lines)) == dumped(expected)


def dumped(value):
    if isinstance(value, dict):
        return {name: dumped(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [dumped(inner) for inner in value]
    return "nan" if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, -1, 2**63 - 1], pa.int64()),
        ([1, 2**63], pa.uint64()),
        ([2**64 - 1], pa.uint64()),
        ([-1, 2**63], "64 bits do not hold all of its integers"),
        ([2**64], "64 bits do not hold all of its integers"),
        ([1, 1.5], pa.float64()),
        ([2**53, 1.5], pa.float64()),
        ([2**53 + 1, 1.5], "a double does not hold all of its integers"),
        ([1.5, math.nan, math.inf], pa.float64()),
        ([1, math.nan], pa.float64()),
        (["2020-01-01", "x"], pa.string()),
        ([True, None], pa.bool_()),
        ([True, 1], "several kinds"),
        ([1, "1"], "several kinds"),
        ([None], "null"),
        ([[], [1], None, [2]], pa.list_(pa.int64())),
        ([[1, "x"]], "several kinds"),
        ([[]], "null"),
        ([{"a": 1}, {"a": 2}], pa.struct([("a", pa.int64())])),
        ([{"a": 1}, {"a": 1, "b": 2}], "changing fields"),
        ([{"a": 1}, {"a": None}], pa.struct([("a", pa.int64())])),
        ([{"a": None}], "field a: its values are null"),
        ([{}], "empty"),
        ([[{"a": 2**64}]], "field a: 64 bits do not hold"),
    ],
    ids=str,
)
def test_a_column_has_a_type_that_holds_each_value_or_none(values, kind):
    rows = [{"text": "a", "n": value} for value in values]
    chosen = jsonl_columns.choose(rows, Asked(("text",), output=OutputColumns()), "a.jsonl")
    if isinstance(kind, str):
        assert chosen.lines.as_json == ("n",)
        assert chosen.schema.field("n").type == pa.string()
        (note,) = chosen.notes
        assert note.startswith("column n: JSON text, since") and kind in note
    else:
        assert chosen.schema == pa.schema(
            [("text", pa.string()), ("n", kind), ("_extra", pa.string())]
        )
        assert not chosen.notes


def test_columns_that_nobody_asks_for_are_not_looked_at():
    rows = [{"text": "a", "id": 1, "odd": [1, "x"]}]
    asked = Asked(("text",), columns=("id",), output=OutputColumns())
    chosen = jsonl_columns.choose(rows, asked, "a.jsonl")
    assert chosen.schema.names == ["text", "id", "_extra"]
    data = (
        b'{"text": "b", "id": "x", "odd": {"a": 1}, "new": 1, "new": 2}\n{"text":"c","odd":NaN}\n'
    )
    parsed = jsonl_rows.parse(data, 0, chosen.lines, chosen.schema, ("text",))
    assert parsed.batch.to_pylist() == [
        {"text": "b", "id": None, "_extra": '{"id":"x"}'},
        {"text": "c", "id": None, "_extra": None},
    ]
    texts = jsonl_columns.choose(rows, replace(asked, columns=()), "a.jsonl")
    assert texts.schema.names == ["text"]


def test_rare_keys_among_too_many_and_keys_that_are_no_text_make_no_column():
    rows = [{"text": "a", "id": n, f"user {n}": n, "\ud800": n} for n in range(1500)]
    chosen = jsonl_columns.choose(rows, Asked(("text",), output=OutputColumns()), "a.jsonl")
    assert {"text", "id", "_extra"} <= {*chosen.schema.names}
    assert len(chosen.schema) == jsonl_columns.MOST_COLUMNS
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    parsed = jsonl_rows.parse(data, 0, chosen.lines, chosen.schema, ("text",))
    for row, line in zip(parsed.batch.to_pylist(), rows, strict=True):
        assert told(row, chosen.lines) == line


def test_a_name_that_the_output_adds_is_refused():
    for name in ("_extra", "prediction", "__tango_x"):
        with pytest.raises(RefusedError, match="--answer_prefix"):
            jsonl_columns.choose(
                [{"text": "a", name: 1}], Asked(("text",), output=OutputColumns()), "a.jsonl"
            )
    asked = Asked(("text",), output=OutputColumns(prefix="my_"))
    chosen = jsonl_columns.choose([{"text": "a", "_extra": 1}], asked, "a.jsonl")
    assert chosen.schema.names == ["text", "_extra", "my__extra"]


PATHS = {
    "doc.text": [{"doc": {"text": "a", "n": 1}}, {"doc": {"n": 2}}, {"doc": None}, {"doc": 3}],
    "messages.0.content": [
        {"messages": [{"content": "a"}, {"content": "b"}]},
        {"messages": []},
        {"messages": [{"content": None}]},
        {"messages": "x"},
    ],
    "messages.-1.content": [{"messages": [{"content": "b"}, {"content": "a"}]}, {}, {}, {}],
    "a.b": [{"a.b": "a", "a": {"b": "c"}}, {"a": {"c": 1}}, {}, {"a.b": None}],
}


@pytest.mark.parametrize("own", [False, True], ids=["columns", "own lines"])
@pytest.mark.parametrize("path", PATHS)
def test_a_text_may_lie_inside_a_column(path, own):
    rows = PATHS[path]
    asked = Asked((path,), own_lines=own, output=OutputColumns())
    chosen = jsonl_columns.choose(rows, asked, "a.jsonl")
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if own:
        parsed = jsonl_own.OwnLines(chosen.lines, (path,)).parse(data, 0)
    else:
        parsed = jsonl_rows.parse(data, 0, chosen.lines, chosen.schema, (path,))
    batch = parsed.batch
    read = record_columns.TEXTS[0] in batch.schema.names
    texts = batch.column(record_columns.TEXTS[0]) if read else text_columns.extract(batch, path)
    assert texts.to_pylist() == ["a", None, None, None]
    with pytest.raises(RefusedError, match=r"--text_column doc\.no: expected a column of texts"):
        jsonl_columns.choose(PATHS["doc.text"], replace(asked, texts=("doc.no",)), "a.jsonl")


def own(data, texts=("text",), **columns):
    lines = LineColumns(pa.schema([]), own=True, **columns)
    return jsonl_own.OwnLines(lines, texts).parse(data, 0)


STRANGE = [
    b'{"text": "a", "id": 1, "id": 2}',
    b'{"text": "a", "big": 123456789012345678901234567890.123456789}',
    b'{"text": "a", "n": NaN, "i": [-Infinity]}',
    b'{"text": "a", "half": "\\ud800"}',
    b' {"text" : "a" } ',
    b'{"te\\u0078t": "a", "esc": "\\u003c\\/"}',
    b'{"nested": {"text": "b", "prediction": 1}, "text": "a", "type": "text"}',
]


@pytest.mark.parametrize("line", STRANGE, ids=repr)
def test_a_line_of_ones_own_is_not_touched(line):
    plain = b'{"text":"c"}'
    for data, texts in ((line, ["a"]), (plain + b"\n" + line + b"\r\n", ["c", "a"])):
        parsed = own(data, reserved=("prediction",))
        assert not parsed.bad
        assert parsed.batch.column(record_columns.TEXTS[0]).to_pylist() == texts
        assert parsed.batch.column(record_columns.LINE).to_pylist()[-1] == line
    last = parsed.batch.column(record_columns.LINE).slice(1)
    added = pa.RecordBatch.from_pydict({"prediction": pa.array(["x"])})
    out = bytes(add_columns(last, added)).removesuffix(b"\n")
    assert out.startswith(line.rstrip()[:-1]) and out.endswith(b',"prediction":"x"}')
    assert json.loads(out)["prediction"] == "x"


@pytest.mark.parametrize("line", NO_ROW, ids=lambda line: repr(line[:24]))
def test_a_line_of_ones_own_without_a_text_is_dead(line):
    parsed = own(GOOD + b"\n" + line + b"\n")
    texts = parsed.batch.column(record_columns.TEXTS[0]).to_pylist()
    assert [bad.raw for bad in parsed.bad] == [line]
    assert texts == ["a"]


@pytest.mark.parametrize(
    "line", [b'{"text": "a", "prediction": 1}', b'{"text": "a", "predict\\u0069on": null}']
)
def test_a_late_key_that_bears_an_answers_name_is_dead_and_says_so(line):
    parsed = own(GOOD + b"\n" + line + b"\n", reserved=("prediction",))
    assert parsed.batch.num_rows == 1
    (bad,) = parsed.bad
    assert "expected no key that the output adds, found 'prediction'" in bad.error


def test_of_a_line_of_ones_own_only_some_keys_may_stay():
    data = b'{"text": "a", "n": 1.50, "m": 1, "new": [ 1 ], "n": 2}\n'
    kept = own(data, kept=("n", "new"), unknown="drop")
    assert kept.batch.column(record_columns.LINE).to_pylist() == [b'{"new":[ 1 ],"n":1.5,"n":2}']
    (bad,) = own(data, kept=("text", "n", "m"), unknown="dead").bad
    assert "found the key 'new'" in bad.error


def test_offsets_point_at_the_lines_also_behind_a_byte_order_mark_and_carriage_returns():
    data = b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n" + GOOD
    for parsed in (parse(data), own(data)):
        assert not parsed.bad
        assert [data[offset : offset + len(GOOD)] for offset in parsed.offsets] == [GOOD, GOOD]


def test_a_line_of_three_megabytes_is_read():
    line = json.dumps({"text": "x" * 3_000_000}).encode() + b"\n"
    assert parse(line * 2).batch.num_rows == 2


def test_no_lines_give_no_rows():
    parsed = parse(b"")
    assert parsed.batch.schema == SCHEMA
    assert parsed.offsets.dtype == np.int64
    assert own(b"").batch.num_rows == 0


def test_a_stated_type_that_json_has_no_word_for_is_arrows_to_read():
    stated = pa.schema([("text", pa.string()), ("day", pa.timestamp("s")), ("n", pa.float32())])
    asked = Asked(("text",), schema=stated, output=OutputColumns())
    chosen = jsonl_columns.choose([], asked, "a.jsonl")
    lines = [b'{"text":"a","day":"2020-01-01"}', b'{"text":"b","day":"no day","n":0.1}']
    parsed = jsonl_rows.parse(b"\n".join(lines), 0, chosen.lines, chosen.schema, ("text",))
    first, second = parsed.batch.to_pylist()
    assert first["day"].year == 2020
    assert (second["day"], second["_extra"]) == (None, '{"day":"no day"}')
