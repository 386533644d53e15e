"""JSON arrays as lines: the same bytes at the same offsets, and none breaks in silence."""

import gzip
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango_beam import record_columns
from tango_beam.errors import RefusedError
from tango_beam.io import inputs
from tango_beam.io.json_array import ArrayLines
from tango_beam.io.slice_reader import SliceReader

TEXTS = st.text(st.sampled_from('ab"\\[]{},:\n\r\t é'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def lines(data, size=1 << 20):
    stream, parts = ArrayLines(io.BytesIO(data)), []
    while part := stream.read(size):
        parts.append(part)
    return b"".join(parts)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(VALUES, max_size=5),
    st.sampled_from([None, 0, 2]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([1, 2, 3, 7, 1 << 20]),
    st.booleans(),
)
def test_each_item_is_a_line_at_its_own_offset(items, indent, newline, size, mark):
    text = json.dumps(items, indent=indent, ensure_ascii=False).replace("\n", newline)
    data = b"\xef\xbb\xbf" * mark + b" " + text.encode() + newline.encode()
    found = lines(data, size)
    assert len(found) == len(data)
    assert [json.loads(line) for line in found.split(b"\n") if line] == items
    at = 0
    for line in found.split(b"\n"):
        assert not line or (line[:1] == data[at : at + 1] and line == line.strip())
        at += len(line) + 1
    end = len(data) - len(newline)
    for cut in {*range(0, end, 1 + end // 12), end - 1}:
        with pytest.raises(OSError, match="JSON array"):
            lines(data[:cut], size)


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    "data",
    [
        b'[{"a":1} {"b":2}]',
        b'[{"a":1}{"b":2}]',
        b"[,{}]",
        b"[{},]",
        b"[{},,{}]",
        b"[{}]x",
        b"[{}] []",
        b"[{}},{}]",
        b"[{}1]",
        b"[1 2]",
        b'["a""b"]',
        b"[}",
        b"[{]",
        b"[{}]]",
        b'["\\"]',
        b'[{"a": "]}',
    ],
)
def test_what_is_no_array_breaks_behind_its_last_good_item(data, size):
    with pytest.raises(OSError, match="JSON array"):
        lines(data, size)


def test_a_line_break_in_a_string_neither_ends_the_line_nor_becomes_good():
    (line,) = lines(b'[{"a": "x\ny"}]').strip().split(b"\n")
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


def inspect(path, **options):
    return inputs.inspect([str(path)], ["text"], **options)


def read(given):
    pieces = [piece for piece in SliceReader(given).read_all()]
    good = [row for piece in pieces if piece.good for row in piece.good.to_pylist()]
    return good, [row for piece in pieces if piece.dead for row in piece.dead.to_pylist()]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
def test_an_array_is_read_by_the_offsets_of_its_items(tmp_path, name, indent):
    items = [{"id": n, "text": f"line\n{n}, [x]"} for n in range(50)]
    items[7:7] = [None, {"id": 7}]
    data = json.dumps(items, indent=indent).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    given = inspect(path, checkpoint_bytes=300)
    good, dead = read(given)
    assert [row["id"] for row in good] == list(range(50))
    for row in good:
        at = row[record_columns.POSITION]["row"]
        assert json.JSONDecoder().raw_decode(data[at:].decode())[0]["id"] == row["id"]
    assert [json.loads(row[record_columns.RAW]) for row in dead] == [None, {"id": 7}]
    assert len(read(inspect(path, limit=5))[0]) == 5
    path.write_bytes(gzip.compress(data[:-1]) if name.endswith("gz") else data[:-1])
    with pytest.raises(OSError, match="expected ] at the end of the JSON array"):
        read(inspect(path))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"data": [{"text": "a"}]}, r"with an array in it; `jq -c '.data\[\]' "),
        ({"version": "1", "rows": [{"text": "a"}]}, r"`jq -c '.rows\[\]' "),
        ({"text": "a", "id": 1}, "an object over several lines; `jq -c . "),
    ],
)
def test_an_object_that_holds_all_is_refused_with_the_way_out(tmp_path, data, said):
    path = tmp_path / "a.json"
    for indent in (None, 1):
        path.write_text(json.dumps(data, indent=indent))
        if indent is None and "text" in data:
            assert len(read(inspect(path))[0]) == 1  # a line of JSON
            continue
        with pytest.raises(RefusedError, match=said):
            inspect(path)


def test_a_line_that_holds_a_list_is_a_row(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"turns": [{"content": "a"}], "text": "b"}))
    assert len(read(inputs.inspect([str(path)], ["turns.0.content"]))[0]) == 1
    path.write_text('{"text": "a",\n{"text": "b"}\n')  # a line that was cut short
    good, dead = read(inspect(path))
    assert (len(good), len(dead)) == (1, 1)
