"""Answers written behind the members of lines: the same values as written a row at a time."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest

from tango_beam.io.json_members import add_columns
from tango_beam.io.json_values import dump_rows

COLUMNS = {
    "strings": pa.array(["a", None, 'quo"te\\', "\u2028 \U0001f600", ""]),
    "booleans": pa.array([True, False, None, True, False]),
    "integers": pa.array([1, None, -128, 127, 0], pa.int8()),
    "big integers": pa.array([2**63 - 1, -(2**63), None, 0, 1]),
    "float32": pa.array(np.array([0.3, 1.0, 1e-30, 0.99999994, 3e38], np.float32)),
    "float64": pa.array([1e300, -0.0, 1e6, 123456789.0, 0.1]),
    "no numbers": pa.array([math.nan, math.inf, -math.inf, None, 2.0], pa.float32()),
    "struct": pa.array([{"a": 0.5}, {"a": None}, None, {"a": 1.0}, {"a": 0.0}]),
    "lists": pa.array([["a"], [], None, ["b", None], ['"']]),
    "binary": pa.array([b"\xff", None, b"", b"a", b"b"]),
}
LINES = [b'{"id": 1}', b'{"a":[{}]} \t', b'{"x":"}"}\r', b' {"u":"\xc3\xa9"}', b'{"k":1 }']


@pytest.mark.parametrize("name", COLUMNS)
def test_values_are_those_written_a_row_at_a_time(name):
    batch = pa.RecordBatch.from_pydict({'na"me': COLUMNS[name], "last": COLUMNS["integers"]})
    out = bytes(add_columns(pa.array(LINES), batch))
    lines = out.split(b"\n")
    assert len(lines) == 6 and not lines[-1]
    for line, own, added in zip(lines, LINES, dump_rows(batch), strict=False):
        assert line.startswith(own.rstrip()[:-1])
        assert json.loads(line) == json.loads(own) | json.loads(added)


def test_numbers_stay_numbers_with_a_point():
    batch = pa.RecordBatch.from_pydict({"x": pa.array([1.0, 0.0, 0.5], pa.float32())})
    out = bytes(add_columns(pa.array([b'{"a":1}'] * 3), batch))
    assert out == b'{"a":1,"x":1.0}\n{"a":1,"x":0.0}\n{"a":1,"x":0.5}\n'


def test_slices_write_their_own_rows():
    batch = pa.RecordBatch.from_pydict({"x": pa.array([0, 1, 2, 3, 4])})
    out = bytes(add_columns(pa.array(LINES).slice(1, 2), batch.slice(1, 2)))
    assert [json.loads(line)["x"] for line in out.splitlines()] == [1, 2]
