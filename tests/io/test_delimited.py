"""CSV and TSV: rows by their numbers, nothing guessed, and broken rows set apart one by one."""

import csv
import gzip
import io
import json
import resource

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango_beam import record_columns
from tango_beam.errors import RefusedError
from tango_beam.io import inputs, rows
from tango_beam.io.planned import ROWS, Slice
from tango_beam.io.slice_reader import Reading, SliceReader
from tests import forked
from tests.jobs import truncated

FIELDS = st.text(st.sampled_from('ab", ;\t\n\ré'), max_size=8)


def inspect(path, **options):
    return inputs.inspect([str(path)], ["text"], **options)


def read(given):
    pieces = list(SliceReader(given).read_all())
    good = [row for piece in pieces if piece.good for row in piece.good.to_pylist()]
    return good, [row for piece in pieces if piece.dead for row in piece.dead.to_pylist()]


def shown(given):
    good, dead = read(given)
    visible = [
        [value for name, value in row.items() if not name.startswith(record_columns.HIDDEN)]
        for row in good
    ]
    return visible, [
        (row[record_columns.POSITION]["row"], row[record_columns.RAW], row[record_columns.ERROR])
        for row in dead
    ]


def put(folder, data, name="a.csv"):
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(FIELDS, st.sampled_from(["", "NA", "007", "x"])), max_size=12),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from([1, 30, 1 << 25]),
    st.booleans(),
)
def test_what_a_writer_of_csv_wrote_is_read(tmp_path_factory, table, mark, end, quoting, size, bom):
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=mark, lineterminator=end, quoting=quoting)
    writer.writerows([("text", "code"), *table])
    data = "\ufeff" * bom + sink.getvalue()
    path = put(tmp_path_factory.mktemp("csv"), data)
    good, dead = read(inspect(path, checkpoint_bytes=size))
    assert not dead
    assert [(row["text"], row["code"]) for row in good] == table
    positions = [row[record_columns.POSITION] for row in good]
    assert [position["row"] for position in positions] == list(range(len(table)))
    checkpoints = [position["checkpoint"] for position in positions]
    assert checkpoints == sorted(checkpoints)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_broken_rows_are_set_apart_and_the_rest_goes_on(tmp_path, pack):
    data = b'text,id\n"a",1\nb\nc,2,3\n\n\xe9,4\nd,5\n'
    good, dead = shown(inspect(put(tmp_path, pack(data))))
    assert good == [["a", "1"], ["d", "5"]]
    assert [(row, raw) for row, raw, _ in dead] == [(1, b"b"), (2, b"c,2,3"), (3, b"\xe9,4")]
    assert [error.partition(":")[0] for _, _, error in dead] == [
        "expected 2 fields, found 1",
        "expected 2 fields, found 3",
        "column 'text'",
    ]


@pytest.mark.parametrize(
    ("data", "good", "bad"),
    [
        ('1,"a\n2,b\n3,c\n', ["2", "3"], [0]),  # never closed
        ('1,"a\n2,b\n3,"c"\n4,d\n', ["2", "3", "4"], [0]),  # closed by one that opens
        ('1,a\n2,"b\n3,c\n4,"d"\n5,"e\n6,f', ["1", "3", "4", "6"], [1, 4]),
        ('1,5" pipe\n2,"a"b\n3,"q ""x"""\n4,a"b"\n', ["1", "2", "3", "4"], []),
        ('1,"a\nb"\n2,"c\r\nd"\r\n', ["1", "2"], []),
    ],
)
@pytest.mark.parametrize("block", [1 << 20, 8])
def test_a_quote_that_does_not_close_loses_one_line(tmp_path, monkeypatch, data, good, bad, block):
    monkeypatch.setattr(rows, "BLOCK_BYTES", block)
    found, dead = shown(inspect(put(tmp_path, "id,text\n" + data), checkpoint_bytes=10))
    assert [row[0] for row in found] == good
    assert [row for row, _, _ in dead] == bad


@pytest.mark.parametrize(
    ("name", "data", "row"),
    [
        ("a.tsv", "text\tid\na,b\t1\n", ["a,b", "1"]),
        ("a.TAB", "text\tid\na\t1\n", ["a", "1"]),
        ("a.csv", "text;id\na,b;1\n", ["a,b", "1"]),
        ("a.csv", "text\tid\na\t1\n", ["a", "1"]),
        ("a.csv", '"text","i;d;e"\na;b,1\n', ["a;b", "1"]),
        ("a.csv", "text\na\n", ["a"]),
        ("a.csv", '\ufeff"text","a\nb"\r\na,1\r\n', ["a", "1"]),
        ("a.csv", ",text,\n0,a,1", ["0", "a", "1"]),
    ],
)
def test_the_header_tells_separator_and_names(tmp_path, name, data, row):
    given = inspect(put(tmp_path, data, name))
    assert shown(given) == ([row], [])
    assert len(given.notes) == (name == "a.csv" and data[4] in ";\t")


def test_headers_that_cannot_be_read_are_refused(tmp_path):
    for data, said in (
        (b"text,text\na,b\n", r"distinct column names, found \['text'\] twice"),
        (b"text,\xe9\na,b\n", "expected a header in UTF-8, found .*iconv"),
        ("text,a\n".encode("utf-16"), "UTF-16; iconv"),
        ("text,a\nb,c\n".encode("utf-16-be"), "UTF-16; iconv"),
        (b"text,a\rb,c\r", "carriage returns alone"),
        (b"", "expected a header of column names, found an empty file"),
        (b"title,a\nb,c\n", "--text_column text: "),
    ):
        with pytest.raises(RefusedError, match=said):
            inspect(put(tmp_path, data))
    # A name that stands twice is no harm where it is not read.
    path = put(tmp_path, "text,n,n\na,1,2\n")
    assert shown(inspect(path, columns=[])) == ([["a"]], [])
    assert shown(inspect(put(tmp_path, "text,n\n"))) == ([], [])


def test_a_schema_states_types_and_what_does_not_fit_is_dead(tmp_path):
    path = put(tmp_path, "text,n,day\na,1,2020-01-01\nb,x,2020-01-01\n,,\nc,2,tomorrow\n")
    assert shown(inspect(path))[0][2] == ["", "", ""]
    stated = pa.schema([("n", pa.int64()), ("day", pa.date32())])
    given = inspect(path, schema=stated)
    good, dead = shown(given)
    assert [row[:2] for row in good] == [["a", 1], ["", None]]
    assert [(row, error) for row, _, error in dead] == [
        (1, "column 'n': expected int64, found b'x'"),
        (3, "column 'day': expected date32[day], found b'tomorrow'"),
    ]
    for wrong in (("m", pa.int64()), ("n", pa.list_(pa.int64()))):
        with pytest.raises(RefusedError, match="--schema: expected"):
            inspect(path, schema=pa.schema([wrong]))


def test_files_with_other_columns_are_read_as_one(tmp_path):
    put(tmp_path, "text,a\nx,1\n", "1.csv")
    put(tmp_path, "b\ttext\n2\ty\n", "2.tsv")
    put(tmp_path, b"", "3.csv")
    given = inspect(tmp_path)
    assert shown(given)[0] == [["x", "1", None], ["y", None, "2"]]
    assert len(given.notes) == 3
    assert shown(inspect(tmp_path, columns=["b"]))[0] == [["x", None], ["y", "2"]]


def test_a_limit_and_a_later_start_give_the_same_rows(tmp_path):
    lines = [f'"row\n{n}",{n}\n' for n in range(100)]
    path = put(tmp_path, "text,id\n" + "\n".join(lines))
    for limit in (1, 37, 100, 200):
        given = inspect(path, limit=limit, checkpoint_bytes=100)
        assert [row[1] for row in shown(given)[0]] == [str(n) for n in range(min(limit, 100))]
    whole = inspect(path, checkpoint_bytes=100)
    assert inputs.estimate_rows(whole.files) == pytest.approx(100, rel=0.1)
    numbers = [row[record_columns.POSITION] for row in read(whole)[0]]
    for index in {position["checkpoint"] for position in numbers}:
        pieces = SliceReader(whole).read_stream(Slice(0, ROWS, 0, None), index, Reading(index, 0))
        again = [row for piece in pieces for row in piece.good.to_pylist()]
        assert [row[record_columns.POSITION] for row in again] == [
            position for position in numbers if position["checkpoint"] == index
        ]


def test_a_file_that_breaks_midway_is_refused_or_listed(tmp_path):
    data = "text,id\n" + "".join(f"{n * 2654435761 % 2**32},{n}\n" for n in range(30_000))
    path = truncated(put(tmp_path, gzip.compress(data.encode()), "a.csv.gz"))
    with pytest.raises(OSError, match=r"a.csv.gz: expected to read on"):
        read(inspect(path, checkpoint_bytes=10_000))
    good, dead = read(inspect(path, checkpoint_bytes=10_000, allow_broken_files=True))
    assert [row["id"] for row in good] == [str(n) for n in range(len(good))] and not dead
    put(tmp_path, gzip.compress(data.encode())[:12], "a.csv.gz")
    with pytest.raises(RefusedError, match="expected a readable CSV file"):
        inspect(path)


@pytest.mark.slow
def test_long_rows_are_read_and_too_long_ones_set_apart(tmp_path):
    most = rows.MAX_LINE_BYTES
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write(b"text,id\n" + b"x" * (most - 10) + b",0\nb,1\n")
        file.write(b'"' + b"y" * 1000 + b"\n" * (1 << 20) + b'",2\n')
        for _ in range(3):
            file.write(b"z" * (most // 2))
        file.write(b",3\nc,4\n")
    reading = forked.Forked(say_lengths, path)
    assert reading.ended() == 0, reading.err
    said = json.loads(reading.out)
    assert said["good"][1:] == [[1, "1"], [1000 + (1 << 20), "2"], [1, "4"]]
    assert said["dead"] == [3]
    assert said["peak"] < 2 << 20


def say_lengths(path):
    """Says which rows a file has, and what memory it took to read them, in KiB."""
    good, dead = shown(inspect(path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lengths = [(len(row[0]), row[1]) for row in good]
    print(json.dumps({"good": lengths, "dead": [row for row, _, _ in dead], "peak": peak}))
