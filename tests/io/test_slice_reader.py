"""Slices of real files: which rows come out, where they stood, and what a broken file leaves."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tango_beam import record_columns
from tango_beam.io import inputs
from tango_beam.io.plan import plan_items
from tango_beam.io.planned import Slice
from tango_beam.io.slice_reader import Reading, SliceReader
from tests.jobs import truncated, write_jsonl

PACK = {".gz": gzip.compress, ".zst": zstandard.compress}


def lines_of(count):
    return [json.dumps({"id": n, "text": f"text {n}"}).encode() for n in range(count)]


def offsets_of(lines):
    return np.cumsum([0, *(len(line) + 1 for line in lines)]).tolist()


def jsonl(path, lines):
    write_jsonl(path, lines)
    return inputs.inspect([str(path)], ["text"])


def parquet(path, count, **options):
    table = pa.table({"id": range(count), "text": [f"text {n}" for n in range(count)]})
    pq.write_table(table, path, **options)
    return inputs.inspect([str(path)], ["text"])


def rows(pieces, what="good"):
    """Ids (or errors) of the rows, each with its file, row group and row or byte."""
    name = {"good": "id", "dead": record_columns.ERROR}[what]
    batches = [getattr(piece, what) for piece in pieces if getattr(piece, what) is not None]
    positions = [batch.column(record_columns.POSITION).to_pylist() for batch in batches]
    values = [batch.column(name).to_pylist() for batch in batches]
    return [
        (value, at["file"], at["row_group"], at["row"])
        for some, places in zip(values, positions, strict=True)
        for value, at in zip(some, places, strict=True)
    ]


def ids(pieces):
    return [value for value, *_ in rows(pieces)]


def test_a_line_belongs_to_the_slice_in_which_it_begins(tmp_path):
    lines = lines_of(4)
    at = offsets_of(lines)
    reader = SliceReader(jsonl(tmp_path / "a.jsonl", lines))
    reading = Reading(checkpoint=7, attempt=9)

    def read(start, stop):
        return rows(reader.read(Slice(0, -1, start, stop), reading))

    inside = at[1] + 3  # the second line begins before it and ends behind it
    assert read(0, inside) == [(0, 0, -1, 0), (1, 0, -1, at[1])]
    assert read(inside, at[3]) == [(2, 0, -1, at[2])]
    assert read(at[3], at[4]) == [(3, 0, -1, at[3])]
    assert read(inside, inside + 2) == []
    assert reading.rows == 4 and not reading.broken


def test_positions_name_the_checkpoint_and_the_attempt(tmp_path):
    reader = SliceReader(jsonl(tmp_path / "a.jsonl", lines_of(2)))
    (piece,) = reader.read(Slice(0, -1, 0, 1), Reading(checkpoint=7, attempt=9))
    (position,) = piece.good.column(record_columns.POSITION).to_pylist()
    assert position == {"checkpoint": 7, "attempt": 9, "file": 0, "row_group": -1, "row": 0}
    assert piece.good.schema.names == ["id", "text", record_columns.POSITION]
    assert piece.weight == len(lines_of(1)[0]) + 1


def test_lines_that_are_no_rows_and_rows_without_a_text_are_dead_with_their_bytes(tmp_path):
    lines = [*lines_of(2), b"no json", b'{"id": 3, "text": null}\r', b"", *lines_of(1)]
    at = offsets_of(lines)
    given = jsonl(tmp_path / "a.jsonl", lines)
    reading = Reading(0, 0)
    pieces = list(SliceReader(given).read(Slice(0, -1, 0, at[-1]), reading))
    assert [row for _, _, _, row in rows(pieces)] == [at[0], at[1], at[5]]
    (bad, null) = rows(pieces, "dead")
    assert bad[0].startswith("expected a JSON object, found text that is no JSON")
    assert bad[1:] == (0, -1, at[2])
    assert null == ("column 'text': expected a text, found null", 0, -1, at[3])
    (dead,) = [piece.dead for piece in pieces if piece.dead is not None]
    assert dead.column(record_columns.RAW).to_pylist() == [b"no json", b'{"id": 3, "text": null}']
    assert set(dead.column(record_columns.STAGE).to_pylist()) == {"read"}
    assert reading.rows == 5


def test_only_the_chosen_columns_pass_but_the_whole_line_is_the_raw_record(tmp_path):
    lines = [*lines_of(1), b'{"id": 1, "text": null}']
    path = write_jsonl(tmp_path / "a.jsonl", lines)
    given = inputs.inspect([str(path)], ["text"], columns=[])
    (piece,) = SliceReader(given).read_all()
    assert piece.good.schema.names == ["text", record_columns.POSITION]
    assert piece.dead.column(record_columns.RAW).to_pylist() == [lines[1]]


def test_a_row_group_is_read_in_two_slices_and_in_the_middle(tmp_path):
    reader = SliceReader(parquet(tmp_path / "a.parquet", 12, row_group_size=6))

    def read(*piece):
        return rows(reader.read(Slice(0, *piece), Reading(0, 0)))

    assert read(0, 0, 2) == [(0, 0, 0, 0), (1, 0, 0, 1)]
    assert read(0, 2, 6) == [(n, 0, 0, n) for n in range(2, 6)]
    assert read(1, 4, 6) == [(10, 0, 1, 4), (11, 0, 1, 5)]
    assert read(1, 1, 3) == [(7, 0, 1, 1), (8, 0, 1, 2)]  # back again


def test_the_same_row_groups_of_two_files_are_told_apart(tmp_path):
    parquet(tmp_path / "a.parquet", 9)
    pq.write_table(pa.table({"id": range(50, 59), "text": ["b"] * 9}), tmp_path / "b.parquet")
    reader = SliceReader(inputs.inspect([str(tmp_path)], ["text"]))
    for file, first, row in ((0, 0, 1), (1, 50, 4), (0, 0, 7)):
        read = rows(reader.read(Slice(file, 0, row, row + 1), Reading(0, 0)))
        assert read == [(first + row, file, 0, row)]


def test_rows_that_no_checkpoint_has_asked_for_wait_in_their_batch(tmp_path):
    reader = SliceReader(parquet(tmp_path / "a.parquet", 5000))
    reading = Reading(0, 0)
    for start, stop in ((0, 1000), (1000, 3000), (4500, 5000)):
        read = ids(reader.read(Slice(0, 0, start, stop), reading))
        assert read == list(range(start, stop))
    assert reading.rows == 3500


def test_parquet_texts_that_are_null_or_no_utf8_are_dead_as_json(tmp_path):
    bad = pa.array([b"ok", None, b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"id": [0, 1, 2], "text": bad}), tmp_path / "a.parquet")
    given = inputs.inspect([str(tmp_path / "a.parquet")], ["text"])
    pieces = list(SliceReader(given).read_all())
    assert rows(pieces) == [(0, 0, 0, 0)]
    assert rows(pieces, "dead") == [
        ("column 'text': expected a text, found null", 0, 0, 1),
        ("column 'text': expected UTF-8, found other bytes", 0, 0, 2),
    ]
    raw = [json.loads(value) for value in pieces[0].dead.column(record_columns.RAW).to_pylist()]
    assert raw == [{"id": 1, "text": None}, {"id": 2, "text": "/w=="}]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), "dictionary"])
def test_other_kinds_of_texts_and_other_orders_of_columns_are_read(tmp_path, kind):
    texts = pa.array(["a", "b"])
    texts = texts.dictionary_encode() if kind == "dictionary" else texts.cast(kind)
    pq.write_table(pa.table({"id": [0, 1], "text": texts}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": texts, "id": [2, 3]}), tmp_path / "b.parquet")
    given = inputs.inspect([str(tmp_path)], ["text"])
    pieces = list(SliceReader(given).read_all())
    assert [piece.good.schema.names[:2] for piece in pieces] == [["id", "text"]] * 2
    assert [text for piece in pieces for text in piece.good.column("text").to_pylist()] == [
        *("a", "b", "a", "b")
    ]
    assert [(file, row) for _, file, _, row in rows(pieces)] == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("suffix", PACK)
def test_a_compressed_file_is_read_in_checkpoints_and_resumed_in_the_middle(tmp_path, suffix):
    lines = lines_of(30)
    at = offsets_of(lines)
    step = at[-1] // 3 + 1
    given = jsonl(tmp_path / f"a.jsonl{suffix}", lines)
    given = replace(given, checkpoint_bytes=step)
    (item,) = plan_items(given.files, step)
    assert item.stream
    (piece,) = item.slices

    reader, seen, ended = SliceReader(given), [], []
    for index in range(3):
        seen.append(rows(reader.read_stream(piece, index, Reading(index, 0))))
        ended.append(reader.stream_ended(piece))
    assert ended == [False, False, True]
    expected = [(n, 0, -1, at[n]) for n in range(30)]
    assert [row for some in seen for row in some] == expected
    for index, some in enumerate(seen):
        assert some == [row for row in expected if row[3] // step == index]

    for index in (2, 1):  # by readers that have not read what lies before
        assert rows(SliceReader(given).read_stream(piece, index, Reading(0, 0))) == seen[index]


def test_a_checkpoint_that_was_left_halfway_is_read_again_from_its_beginning(tmp_path):
    lines = [json.dumps({"id": n, "text": "x" * 100}).encode() for n in range(4000)]
    given = jsonl(tmp_path / "a.jsonl.gz", lines)
    ((piece,),) = (item.slices for item in plan_items(given.files, given.checkpoint_bytes))
    reader = SliceReader(given)
    left = reader.read_stream(piece, 0, Reading(0, 0))
    assert next(left).rows + next(left).rows < 4000
    assert ids(reader.read_stream(piece, 0, Reading(0, 1))) == list(range(4000))


def test_the_input_is_read_whole_and_in_order_whatever_it_consists_of(tmp_path):
    lines = lines_of(60)
    write_jsonl(tmp_path / "a.jsonl", lines[:20])
    write_jsonl(tmp_path / "b.jsonl.gz", lines[20:40])
    write_jsonl(tmp_path / "c.jsonl", lines[40:])
    given = inputs.inspect([str(tmp_path)], ["text"], checkpoint_bytes=100)
    assert ids(SliceReader(given).read_all()) == list(range(60))


def broken_parquet(tmp_path):
    """Three row groups of a hundred rows, the second of which does not decode."""
    path = tmp_path / "a.parquet"
    parquet(path, 300, row_group_size=100, compression="zstd")
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    return path


def broken_gzip(tmp_path):
    rng = np.random.default_rng(0)
    lines = [{"id": n, "text": rng.bytes(30).hex()} for n in range(6000)]
    return truncated(write_jsonl(tmp_path / "a.jsonl.gz", lines))


@pytest.mark.parametrize("make", [broken_parquet, broken_gzip])
def test_a_file_that_breaks_midway_is_named_with_the_rows_read_before(tmp_path, make):
    path = make(tmp_path)
    for allowed, hint in ((False, "; --allow_broken_files goes on without the rest"), (None, "")):
        given = inputs.inspect([str(path)], ["text"], allow_broken_files=allowed)
        with pytest.raises(OSError, match=r"expected to read on, found .* rows of this") as error:
            list(SliceReader(given).read_all())
        assert str(error.value).startswith(f"{path}: ")
        assert str(error.value).endswith(f"rows of this checkpoint{hint}")


def test_where_that_is_allowed_the_rows_of_a_broken_row_group_are_dead(tmp_path):
    path = broken_parquet(tmp_path)
    given = inputs.inspect([str(path)], ["text"], allow_broken_files=True)
    reader, reading = SliceReader(given), Reading(0, 0)
    read = [piece for group in range(3) for piece in reader.read(Slice(0, group, 0, 100), reading)]
    assert ids(read) == [*range(100), *range(200, 300)]
    dead = rows(read, "dead")
    assert [place for _, *place in dead] == [[0, 1, row] for row in range(100)]
    assert all(error.startswith("not read: ") for error, *_ in dead)
    (entry,) = reading.broken
    assert (entry["path"], entry["row_group"], entry["rows_not_read"]) == (str(path), 1, 100)
    assert reading.rows == 300


def test_rows_before_the_break_of_a_row_group_are_good(tmp_path):
    path = tmp_path / "a.parquet"
    parquet(path, 9000, compression="zstd", use_dictionary=False, data_page_size=1000)
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    half, end = column.total_compressed_size // 2, column.total_compressed_size
    data[column.data_page_offset + half : column.data_page_offset + end] = b"\xff" * (end - half)
    path.write_bytes(data)
    given = inputs.inspect([str(path)], ["text"], allow_broken_files=True)
    read = list(SliceReader(given).read_all())
    good, dead = ids(read), [row for *_, row in rows(read, "dead")]
    assert good + dead == list(range(9000)) and 2000 < len(good) < 7000


def test_where_that_is_allowed_a_broken_stream_says_how_far_it_was_read(tmp_path):
    path = broken_gzip(tmp_path)
    given = inputs.inspect([str(path)], ["text"], allow_broken_files=True, checkpoint_bytes=1 << 16)
    reader, broken, read, index, more = SliceReader(given), [], [], 0, True
    while more:
        reading = Reading(index, 0)
        read += list(reader.read_stream(Slice(0, -1, 0, None), index, reading))
        broken += reading.broken
        more, index = not reader.stream_ended(Slice(0, -1, 0, None)), index + 1
    (entry,) = broken
    found = rows(read)
    assert [row[0] for row in found] == list(range(len(found))) and 0 < len(found) < 6000
    assert index > 1
    last = len(json.dumps({"id": found[-1][0], "text": "0" * 60})) + 1
    assert entry["read_up_to_byte"] == found[-1][3] + last
    assert (entry["of_uncompressed"], entry["file_bytes"]) == (True, path.stat().st_size)


def test_a_file_that_has_gone_since_it_was_planned_is_a_broken_file(tmp_path):
    path = tmp_path / "a.jsonl"
    given = jsonl(path, lines_of(3))
    path.unlink()
    with pytest.raises(OSError, match=r"a\.jsonl: expected to read on, found .*No such file"):
        list(SliceReader(given).read_all())
