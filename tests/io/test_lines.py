import io

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tango_beam.io import lines
from tango_beam.io.lines import LineStream

TEXT = st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b"", b"c" * 9]), max_size=60).map(
    b"".join
)


def split(data, cuts, read_bytes):
    """The lines that readers of neighbouring ranges of one file find."""
    found = []
    for start, stop in zip(cuts, [*cuts[1:], max(len(data), cuts[-1])], strict=True):
        behind = max(0, start - 1)
        stream = LineStream(io.BytesIO(data[behind:]), behind, read_bytes)
        if start:
            stream.skip_line()
        for block in stream.blocks(stop):
            assert data[block.offset : block.offset + len(block.data)] == block.data
            found += (
                block.data.split(b"\n")[:-1]
                if block.data.endswith(b"\n")
                else [*block.data.split(b"\n")]
            )
    return found


@given(TEXT, st.lists(st.integers(0, 80), max_size=6), st.integers(1, 20))
def test_ranges_that_cover_a_file_find_each_line_once(data, cuts, read_bytes):
    edges = sorted({0, *(cut for cut in cuts if cut < len(data))})
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected = expected[:-1]
    assert split(data, edges, read_bytes) == expected


@given(TEXT, st.integers(1, 30), st.integers(1, 20))
def test_a_stream_gives_ranges_one_after_the_other(data, step, read_bytes):
    stream = LineStream(io.BytesIO(data), 0, read_bytes)
    found, stop = b"", 0
    while not stream.at_end:
        stop += step
        for block in stream.blocks(stop):
            assert block.offset == len(found)
            found += block.data
    assert found == data


def test_a_line_too_long_is_told_apart_and_the_next_ones_are_read(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    data = b"one\n" + b"x" * 1000 + b"\ntwo\n"
    blocks = list(LineStream(io.BytesIO(data), 0, 16).blocks(None))
    long = [block for block in blocks if block.too_long]
    assert [(block.offset, block.line_bytes) for block in long] == [(4, 1001)]
    assert b"".join(block.data for block in blocks if not block.too_long) == b"one\ntwo\n"


def test_lines_before_one_that_is_too_long_are_read_also_when_the_range_ends_in_it(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1000)
    data = b"ok1\nok2\n" + b"x" * 5000 + b"\nok3\n"
    blocks = list(LineStream(io.BytesIO(data), 0, 4096).blocks(2000))
    assert [(block.data[:4], block.too_long) for block in blocks] == [
        (b"ok1\n", False),
        (b"xxxx", True),
    ]
    assert blocks[0].data == b"ok1\nok2\n"


@pytest.mark.parametrize("data", [b"", b"\n", b"a"])
def test_small_files(data):
    assert b"".join(block.data for block in LineStream(io.BytesIO(data), 0, 4).blocks(None)) == data
