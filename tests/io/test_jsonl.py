import json

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from tango_beam.io import jsonl_rows, jsonl_schema

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

# What is wrong, and what the dead letter must say.
BAD = {
    b"not json": "no JSON",
    b'{"text": "a"': "no JSON",
    b'{"text": "a"} {"text": "b"}': "no JSON",
    b'{"text": "\xff"}': "expected UTF-8, found byte 0xff",
    b'{"text": "\\ud800"}': "no JSON",
    b'{"text": "a\tb"}': "no JSON",
    b'{"score": NaN}': "no JSON",
    b'{"score": Infinity}': "no JSON",
    b"[1]": "found array",
    b'"text"': "found string",
    b"null": "found null",
    b'{"text": 5}': "column 'text': expected string, found integer 5",
    b'{"id": "5"}': "column 'id': expected int64, found string '5'",
    b'{"id": 1.5}': "column 'id': expected int64, found number 1.5",
    b'{"id": true}': "column 'id': expected int64, found boolean True",
    b'{"id": 9223372036854775808}': "found another type",
    b'{"score": "x"}': "column 'score'",
    b'{"flag": 1}': "column 'flag': expected bool, found integer 1",
    b'{"tags": "x"}': "column 'tags'",
    b'{"tags": [1]}': "found another type",
    b'{"meta": {"moons": 1}}': "found another type",
    b'{"meta": []}': "column 'meta'",
    b'{"text": "a", "extra": 1}': "found the key 'extra'",
    b'{"text": "a", "text": "b"}': "found another type",
    b'{"text": "a"}\x00': "no JSON",
    b"[" * 2000 + b"]" * 2000: "no JSON",
}


@pytest.mark.parametrize("line", BAD, ids=lambda line: repr(line[:24]))
def test_a_bad_line_is_apart_with_its_reason_and_its_mates_are_read(line):
    data = GOOD + b"\n" + line + b"\n" + GOOD + b"\n"
    parsed = jsonl_rows.parse(data, 100, SCHEMA)
    assert parsed.batch.to_pylist() == [ROW, ROW]
    assert parsed.offsets.tolist() == [100, 100 + len(GOOD) + 1 + len(line) + 1]
    assert [(bad.offset, bad.raw) for bad in parsed.bad] == [(100 + len(GOOD) + 1, line)]
    assert BAD[line] in parsed.bad[0].error


@given(st.lists(st.sampled_from([GOOD, b'{"text":"b"}', b"", b"  ", *BAD]), max_size=30))
def test_a_lines_fate_does_not_hang_on_its_mates(lines):
    whole = jsonl_rows.parse(b"".join(line + b"\n" for line in lines), 0, SCHEMA)
    alone = [jsonl_rows.parse(line + b"\n", 1, SCHEMA) for line in lines]
    assert whole.batch.to_pylist() == [row for one in alone for row in one.batch.to_pylist()]
    assert [bad.raw for bad in whole.bad] == [bad.raw for one in alone for bad in one.bad]
    assert [bad.error for bad in whole.bad] == [bad.error for one in alone for bad in one.bad]
    rows = sum(bool(line.strip()) for line in lines)
    assert len(whole.offsets) + len(whole.bad) == rows


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "text": st.none() | st.text(),
                "id": st.none() | st.integers(-(2**63), 2**63 - 1),
                "score": st.floats(allow_nan=False, allow_infinity=False),
                "flag": st.booleans(),
                "tags": st.lists(st.none() | st.text()),
                "meta": st.fixed_dictionaries({"stars": st.integers(0, 9)}),
            },
        ),
        min_size=1,
    )
)
def test_rows_are_read_as_pythons_json_reads_them(rows):
    rows = json.loads(json.dumps(rows, ensure_ascii=False).encode("utf-8", "replace"))
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    parsed = jsonl_rows.parse(data, 0, SCHEMA)
    assert not parsed.bad
    assert parsed.batch.to_pylist() == [
        {name: row.get(name) for name in SCHEMA.names} for row in rows
    ]


def test_offsets_point_at_the_lines_also_behind_a_byte_order_mark_and_carriage_returns():
    data = b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n" + GOOD
    parsed = jsonl_rows.parse(data, 0, SCHEMA)
    assert not parsed.bad
    assert [data[offset : offset + len(GOOD)] for offset in parsed.offsets] == [GOOD, GOOD]


def test_a_line_of_three_megabytes_is_read():
    line = json.dumps({"text": "x" * 3_000_000}).encode() + b"\n"
    assert jsonl_rows.parse(line * 2, 0, SCHEMA).batch.num_rows == 2


def test_schema_keeps_strings_and_takes_the_most_frequent_kind():
    rows = [
        {"d": "2020-01-01", "n": 1, "big": 2**63, "mix": 1, "odd": "x", "e": None, "l": []},
        {"d": "x", "n": 2, "big": 1, "mix": 1.5, "odd": "y", "l": [{"a": 1}], "late": True},
        {"odd": 3},
    ]
    schema = jsonl_schema.infer_schema(rows)
    assert schema == pa.schema(
        [
            ("d", pa.string()),
            ("n", pa.int64()),
            ("big", pa.float64()),
            ("mix", pa.float64()),
            ("odd", pa.string()),
            ("e", pa.null()),
            ("l", pa.list_(pa.struct([("a", pa.int64())]))),
            ("late", pa.bool_()),
        ]
    )


def test_no_lines_give_no_rows():
    parsed = jsonl_rows.parse(b"", 0, SCHEMA)
    assert parsed.batch.schema == SCHEMA
    assert parsed.offsets.dtype == np.int64
