"""Which files a path, glob or folder stands for, what they are, and what is passed over."""

import bz2
import gzip
import json
import lzma
import os
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tango_beam.errors import RefusedError
from tango_beam.io import inputs, paths
from tango_beam.io.slice_reader import SliceReader

ROWS = [{"id": n, "text": f"text {n}"} for n in range(4)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
CSV = b"id,text\n" + b"".join(f"{row['id']},{row['text']}\n".encode() for row in ROWS)


def parquet():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


def lz4(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
    ".lz4": lz4,
}


def inspect(*patterns, **options):
    return inputs.inspect([str(pattern) for pattern in patterns], ["text"], **options)


def ids(given):
    pieces = SliceReader(given).read_all()
    return [int(n) for piece in pieces if piece.good for n in piece.good["id"].to_pylist()]


def put(folder, **files):
    for name, data in files.items():
        put_as(folder, name, data)
    return folder


def put_as(folder, name, data=LINES):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (
            ["_lang=en/a.jsonl"],
            "1 file whose names or folders begin with _ or . (_lang=en/",
        ),
        ([".b.jsonl", "_c/d/e.jsonl"], "2 files whose names or folders begin with _ or . "),
        (["_manifest.json", "_audit/p", "._x", "_SUCCESS"], "4 files whose names or folders "),
        (["README.md", "LICENSE"], "2 files that hold no rows of the input's format (LICENSE, R"),
    ],
)
def test_what_is_passed_over_is_named(tmp_path, names, note):
    put_as(tmp_path, "x.jsonl")
    for name in names:
        put_as(tmp_path, name, b"# no rows\n")
    given = inspect(tmp_path)
    assert ids(given) == [0, 1, 2, 3]
    (said,) = given.notes
    assert said.startswith(f"passed over {note}")


@pytest.mark.parametrize("way", ["", "/*"])
@pytest.mark.parametrize("name", ["data/train.parquet", "train.csv", "train.jsonl"])
def test_a_download_of_a_data_set_is_read_as_it_comes(tmp_path, name, way):
    form = name.rpartition(".")[2]
    content = {"parquet": parquet(), "csv": CSV, "jsonl": LINES}[form]
    path = put_as(tmp_path, name if way == "" else name.rpartition("/")[2], content)
    beside = ["README.md", "LICENSE", ".gitattributes", "_SUCCESS", ".train.crc", "._train"]
    for other in beside:
        put_as(tmp_path, other, b"text\n")
    info = {"default": {"features": {}}}
    put_as(tmp_path, "dataset_infos.json", json.dumps(info, indent=1).encode())
    put_as(tmp_path, "state.json", json.dumps(info).encode())
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    given = inspect(f"{tmp_path}{way}")
    assert [planned.file.path for planned in given.files] == [str(path)]
    assert ids(given) == [0, 1, 2, 3]
    over = sum(int(note.split()[2]) for note in given.notes)
    assert over == len(beside) + 3  # two objects of JSON, and a link to nowhere


def test_metadata_beside_json_is_told_by_its_shape(tmp_path):
    put_as(tmp_path, "info.json", json.dumps({"a": {}}, indent=1).encode())
    with pytest.raises(RefusedError, match=r"info.json: .* found an object over several lines"):
        inspect(tmp_path)
    put_as(tmp_path, "rows.json", json.dumps(ROWS[:3]).encode())
    put_as(tmp_path, "row.json", json.dumps(ROWS[3]).encode())  # one line may be a row
    given = inspect(tmp_path)
    assert sorted(ids(given)) == [0, 1, 2, 3]
    assert "(info.json)" in given.notes[0]
    put_as(tmp_path, "more.parquet", parquet())
    with pytest.raises(RefusedError, match=r"jsonl \(.*rows.json\) and parquet"):
        inspect(tmp_path)


def test_a_folder_without_rows_is_refused_by_what_it_holds(tmp_path):
    put_as(tmp_path, "README.md", b"text")
    with pytest.raises(RefusedError, match=r"found 1 file of no known format \(README.md\)"):
        inspect(tmp_path)
    put_as(tmp_path, "_x/a.jsonl")
    with pytest.raises(RefusedError, match=r"but 1 file whose .* \(_x/a.jsonl\)"):
        inspect(tmp_path)


def test_a_path_is_written_down_without_a_way_up_unless_a_link_lies_in_it(tmp_path, monkeypatch):
    for name in ("a", "b/below"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "b" / "below")
    monkeypatch.chdir(tmp_path)
    assert paths.absolute("a/../b/*.csv") == f"{tmp_path}/b/*.csv"
    assert paths.absolute("link/../x.csv") == f"{tmp_path}/link/../x.csv"
    assert paths.absolute("s3://bucket/a/../x.csv") == "s3://bucket/a/../x.csv"


def test_links_are_followed_once_and_not_in_circles(tmp_path):
    put_as(tmp_path, "far/part/a.jsonl")
    home = tmp_path / "home"
    home.mkdir()
    (home / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "part" / "up").symlink_to(tmp_path / "far")
    (home / "again").symlink_to(home)
    assert ids(inspect(home)) == [0, 1, 2, 3]
    # As the cache of a hub stores it: the name that tells the format is the link.
    put_as(tmp_path, "hub/blobs/5ac3")
    (tmp_path / "hub" / "v1").mkdir()
    (tmp_path / "hub" / "v1" / "a.jsonl").symlink_to("../blobs/5ac3")
    assert ids(inspect(tmp_path / "hub")) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "folder", ["a [1]", "b]c[", "what?", "x*y", "a::b", "two  words", "s3::x", "[!a]", "%20#1"]
)
def test_a_path_that_exists_means_itself(tmp_path, folder):
    for name in ("p [2].jsonl", "q.jsonl"):
        put_as(tmp_path / folder, name)
    put_as(tmp_path / "a 1", "other.jsonl")
    assert ids(inspect(tmp_path / folder / "p [2].jsonl")) == [0, 1, 2, 3]
    assert len(inspect(tmp_path / folder).files) == 2
    assert len(inspect(f"{tmp_path}/{folder}/*.jsonl").files) == 2
    assert len(inspect(f"{tmp_path}/{folder}/?.jsonl").files) == 1
    assert len(inspect(f"{tmp_path}/*/*.jsonl").files) == 3


def test_a_glob_of_folders_stands_for_the_files_in_them(tmp_path):
    for name in ("a.parquet/part-0", "b.parquet/part-1"):
        put_as(tmp_path, name, parquet())
    assert ids(inspect(f"{tmp_path}/*.parquet")) == [*range(4), *range(4)]
    assert ids(inspect(f"{tmp_path}/**")) == [*range(4), *range(4)]


def test_formats_are_mixed_only_if_asked_for(tmp_path):
    put_as(tmp_path, "a.csv", CSV)
    put_as(tmp_path, "b.jsonl", LINES.replace(b"text ", b"line "))
    put_as(tmp_path, "c.parquet", parquet())
    with pytest.raises(RefusedError) as refused:
        inspect(tmp_path)
    for said in (f"csv ({tmp_path}/a.csv)", f"jsonl ({tmp_path}/b.jsonl)", "--input_format mixed"):
        assert said in str(refused.value)
    for name in ("csv", "jsonl", "parquet"):
        given = inspect(tmp_path, input_format=name)
        assert ids(given) == [0, 1, 2, 3] and len(given.files) == 1
        assert "passed over 2 files" in given.notes[0]


@pytest.mark.parametrize("end", PACKS)
@pytest.mark.parametrize("name", ["a.jsonl", "A.JSONL", "a.csv", "a.json", "bare"])
def test_the_first_bytes_tell_the_compression(tmp_path, end, name):
    data = CSV if name == "a.csv" else LINES
    if name == "a.json":
        data = json.dumps(ROWS).encode()
    packed = PACKS[end](data)
    told = {"input_format": "jsonl"} if name == "bare" else {}
    for full in (name, name + end, name + end.upper(), name + ".gz"):
        path = put_as(tmp_path, full, packed)
        assert ids(inspect(path, **told)) == [0, 1, 2, 3], full
    assert ids(inspect(put_as(tmp_path, name + end, data), **told)) == [0, 1, 2, 3]


@pytest.mark.parametrize("end", PACKS)
def test_streams_behind_each_other_are_read_and_torn_ones_are_no_end(tmp_path, end):
    many = b"".join(
        b'{"id": %d, "text": "%d"}\n' % (n, n * 2654435761 % 2**32) for n in range(3000)
    )
    packed = PACKS[end](many)
    path = put_as(tmp_path, f"a.jsonl{end}", PACKS[end](LINES) + packed)
    assert len(ids(inspect(path))) == 3004
    first = len(PACKS[end](LINES))
    for cut in (first + 1, first + 5, first + len(packed) // 2, first + len(packed) - 1):
        path.write_bytes((PACKS[end](LINES) + packed)[:cut])
        with pytest.raises((OSError, RefusedError)):
            ids(inspect(path))
    path.write_bytes(PACKS[end](LINES) + b"\x01 no stream " + packed)
    with pytest.raises((OSError, RefusedError)):
        ids(inspect(path))
    path.write_bytes(b"")
    with pytest.raises(RefusedError):
        inspect(path)


def test_what_is_no_rows_is_told_by_its_first_bytes(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.csv", "w") as archive:
        archive.writestr("b.csv", CSV)
    with pytest.raises(RefusedError, match="found a zip archive; unpack it"):
        inspect(tmp_path / "a.csv")
    assert ids(inspect(f"zip://*.csv::{tmp_path}/a.csv")) == [0, 1, 2, 3]
    put_as(tmp_path, "b.jsonl", LINES.decode().encode("utf-16"))
    with pytest.raises(RefusedError, match="found UTF-16; iconv"):
        inspect(tmp_path / "b.jsonl")
    put_as(tmp_path, "c.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(RefusedError, match="found a pointer of Git LFS"):
        inspect(tmp_path / "c.csv")


def test_parquet_is_told_without_its_suffix(tmp_path):
    for name in ("part-0", "data.bin", "x.PARQUET"):
        assert ids(inspect(put_as(tmp_path, name, parquet()))) == [0, 1, 2, 3]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path):
    put_as(tmp_path, "no/a.jsonl")
    (tmp_path / "no").chmod(0)
    with pytest.raises(RefusedError, match="Permission"):
        inspect(tmp_path)


def test_rows_of_mixed_formats_have_one_schema(tmp_path):
    put_as(tmp_path, "a.csv", b"id,text,x\n7,a,\nseven,b,y\n")
    put_as(tmp_path, "b.jsonl", b'{"text": "c", "z": [1]}\n')
    put_as(tmp_path, "c.parquet", parquet())
    put_as(tmp_path, "d.json", b'[{"text": "d", "id": 8}]')
    given = inspect(tmp_path, input_format="mixed")
    assert given.schema.field("id").type == pa.int64()
    assert inputs.estimate_rows(given.files) == pytest.approx(8, abs=2)
    pieces = list(SliceReader(given).read_all())
    rows = [row for piece in pieces if piece.good for row in piece.good.to_pylist()]
    assert [(row["id"], row["text"]) for row in rows] == [
        (7, "a"),
        (None, "c"),
        *((row["id"], row["text"]) for row in ROWS),
        (8, "d"),
    ]
    assert (rows[0]["x"], rows[1]["z"], rows[2]["x"]) == ("", [1], None)
    assert sum(piece.dead.num_rows for piece in pieces if piece.dead) == 1  # seven is no integer
    assert len(inspect(tmp_path, input_format="mixed", columns=["x"]).schema) == 2
    assert len(inspect(tmp_path, input_format="mixed", limit=3).files) == 2
    with pytest.raises(RefusedError, match="--columns q: no such column"):
        inspect(tmp_path, input_format="mixed", columns=["q"])


@pytest.mark.parametrize("torn", [b'{"text": "a", {', b'{"text": ["a",', b'{"id": 1, "text": {'])
def test_a_first_line_that_is_torn_makes_no_document_of_a_file_of_lines(tmp_path, torn):
    for end, pack in {"": bytes, **PACKS}.items():
        path = put_as(tmp_path, f"a.jsonl{end}", pack(torn + b"\n" + LINES))
        given = inspect(path)
        dead = [piece.dead.num_rows for piece in SliceReader(given).read_all() if piece.dead]
        assert ids(given) == [0, 1, 2, 3] and sum(dead) == 1
