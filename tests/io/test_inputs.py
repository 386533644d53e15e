"""What a look at the input says before any work: files, columns, limits, and what is refused."""

import gzip
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tango_beam.errors import RefusedError
from tango_beam.io import inputs, jsonl, parquet
from tango_beam.io.slice_reader import SliceReader
from tests.jobs import truncated, write_jsonl


def inspect(*patterns, **options):
    return inputs.inspect([str(pattern) for pattern in patterns], ["text"], **options)


def names(given, folder):
    return [planned.file.path.removeprefix(f"{folder}/") for planned in given.files]


def objects(count, start=0):
    return [{"id": n, "text": f"text {n}"} for n in range(start, start + count)]


def ids(given):
    pieces = SliceReader(given).read_all()
    return [n for piece in pieces if piece.good for n in piece.good.column("id").to_pylist()]


def test_a_folder_is_read_without_what_is_hidden_and_each_file_once(tmp_path):
    for name in ("b.jsonl", "a/c.jsonl", "_x.jsonl", ".y.jsonl", "a/_z.jsonl", "_w/d.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_jsonl(tmp_path / name, objects(1))
    given = inspect(tmp_path, tmp_path / "*.jsonl", tmp_path / "b.jsonl")
    assert names(inspect(tmp_path), tmp_path) == ["a/c.jsonl", "b.jsonl"]
    # A glob passes nothing over.
    assert names(given, tmp_path) == [".y.jsonl", "_x.jsonl", "a/c.jsonl", "b.jsonl"]
    assert names(inspect(tmp_path / "_w"), tmp_path) == ["_w/d.jsonl"]


@pytest.mark.parametrize(
    ("name", "form", "compression"),
    [
        ("a.json", "jsonl", None),
        ("a.NDJSON", "jsonl", None),
        ("a.jsonl.gz", "jsonl", "gzip"),
        ("a.jsonl.zst", "jsonl", "zstd"),
        ("a.pq", "parquet", None),
    ],
)
def test_a_files_name_tells_its_format_and_compression(tmp_path, name, form, compression):
    path = tmp_path / name
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(objects(3)), path)
    else:
        write_jsonl(path, objects(3))
    given = inspect(path)
    (file,) = (planned.file for planned in given.files)
    assert (file.path, file.format, file.compression) == (str(path), form, compression)
    assert file.size == path.stat().st_size and file.modified
    assert ids(given) == [0, 1, 2]


def test_a_name_that_tells_nothing_needs_the_format(tmp_path):
    path = write_jsonl(tmp_path / "rows.txt", objects(2))
    message = r"rows\.txt: expected a name that ends in \.parquet, \.pq, \.jsonl, \.ndjson, \.json"
    with pytest.raises(RefusedError, match=message):
        inspect(path)
    assert ids(inspect(path, input_format="jsonl")) == [0, 1]


def test_other_bytes_than_the_format_are_refused(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", objects(2))
    with pytest.raises(RefusedError, match=r"expected a readable Parquet file, found .*Parquet"):
        inspect(path, input_format="parquet")
    (tmp_path / "a.parquet.gz").write_bytes(b"")
    message = r"a\.parquet\.gz: expected Parquet compressed inside, found gzip around it"
    with pytest.raises(RefusedError, match=message):
        inspect(tmp_path / "a.parquet.gz")


def test_the_option_that_names_the_files_is_in_the_message(tmp_path):
    with pytest.raises(RefusedError, match=r"^--train .*none.*: expected at least one file"):
        inspect(tmp_path / "none*", option="--train")
    with pytest.raises(RefusedError, match=r"^--dev nope://x: expected a readable path"):
        inspect("nope://x", option="--dev")


def test_columns_twice_are_refused_where_they_are_read(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "id", "id"])
    pq.write_table(table, tmp_path / "a.parquet")
    message = r"a\.parquet: expected distinct column names, found \['id'\] twice"
    for columns in (None, ["id"]):
        with pytest.raises(RefusedError, match=message):
            inspect(tmp_path, columns=columns)
    (piece,) = SliceReader(inspect(tmp_path, columns=["text"])).read_all()
    assert piece.good.column("text").to_pylist() == ["a"]


def test_files_may_differ_in_order_and_nulls(tmp_path):
    strict = pa.schema([pa.field("text", pa.string(), nullable=False), ("id", pa.int64())])
    pq.write_table(pa.table({"text": ["a"], "id": [0]}, strict), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": [1], "text": ["b"]}), tmp_path / "b.parquet")
    given = inspect(tmp_path)
    assert ids(given) == [0, 1]
    assert given.schema.field("text").nullable


def test_views_become_plain_and_the_chosen_columns_keep_the_files_order(tmp_path):
    views = pa.table(
        {
            "n": [1],
            "raw": pa.array([b"x"], pa.binary_view()),
            "text": pa.array(["a"], pa.string_view()),
        }
    )
    pq.write_table(views, tmp_path / "a.parquet")
    given = inspect(tmp_path, columns=["raw"])
    assert given.schema == pa.schema([("raw", pa.binary()), ("text", pa.string())])
    message = r"--columns m: no such column in .*a\.parquet; found n, raw, text"
    with pytest.raises(RefusedError, match=message):
        inspect(tmp_path, columns=["m"])


@pytest.mark.parametrize("kind", [pa.int64(), pa.binary(4), pa.bool_(), pa.null()])
def test_a_text_column_must_hold_texts(tmp_path, kind):
    pq.write_table(pa.table({"text": pa.nulls(1, kind)}), tmp_path / "a.parquet")
    with pytest.raises(RefusedError) as refused:
        inspect(tmp_path)
    assert f"a column of texts in {tmp_path}/a.parquet, found {kind}; the co" in str(refused.value)


def test_a_schema_is_for_jsonl_only_and_goes_before_what_the_rows_say(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", objects(1))
    stated = pa.schema([("text", pa.string()), ("id", pa.float64())])
    assert inspect(path, schema=stated).schema.field("id").type == pa.float64()
    pq.write_table(pa.Table.from_pylist(objects(1)), tmp_path / "b.parquet")
    with pytest.raises(RefusedError, match="--schema: expected JSONL input, found Parquet"):
        inspect(tmp_path / "b.parquet", schema=stated)


@pytest.mark.parametrize("limit", [1, 4, 5, 7, 10, 99])
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "gz"])
def test_a_limit_reads_the_first_rows_and_no_file_behind_them(tmp_path, kind, limit):
    for part, start in enumerate((0, 5)):
        rows = objects(5, start)
        if kind == "parquet":
            path = tmp_path / f"{part}.parquet"
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
        else:
            # Blank lines are no rows.
            text = "\n\n".join(json.dumps(row) for row in rows) + "\n"
            suffix, pack = (".gz", gzip.compress) if kind == "gz" else ("", bytes)
            (tmp_path / f"{part}.jsonl{suffix}").write_bytes(pack(text.encode()))
    given = inspect(tmp_path, limit=limit, checkpoint_bytes=30)
    assert ids(given) == list(range(min(limit, 10)))
    assert len(given.files) == (1 if limit <= 5 else 2)


def test_row_groups_are_weighed_by_their_bytes_but_not_below_a_least_size(tmp_path):
    table = pa.table({"text": ["same text"] * 1000, "id": range(1000)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=600)
    (planned,) = inspect(tmp_path).files
    assert [rows for rows, _ in planned.row_groups] == [600, 400]
    assert all(size >= rows * parquet.ROW_BYTES for rows, size in planned.row_groups)
    (cut,) = inspect(tmp_path, limit=700).files
    first, second = planned.row_groups
    assert cut.row_groups == (first, (100, second[1] * 100 // 400))


def test_rows_are_counted_in_parquet_and_estimated_by_the_first_lines_elsewhere(tmp_path):
    pq.write_table(pa.Table.from_pylist(objects(70)), tmp_path / "a.parquet", row_group_size=30)
    assert inputs.estimate_rows(inspect(tmp_path / "a.parquet").files) == 70
    assert inputs.estimate_rows(inspect(tmp_path / "a.parquet", limit=40).files) == 40
    rows = [{"text": "x" * 40} for _ in range(50)]
    write_jsonl(tmp_path / "b.jsonl", rows)
    estimate = inputs.estimate_rows(inspect(tmp_path / "b.jsonl").files)
    assert estimate == pytest.approx(50, rel=0.01)
    cut = inspect(tmp_path / "b.jsonl", limit=20)
    assert inputs.estimate_rows(cut.files) == pytest.approx(20, rel=0.01)


def test_more_rows_than_are_looked_at_are_estimated_from_those(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "SAMPLE_ROWS", 10)
    short = [{"text": "x" * 10} for _ in range(10)]
    long = [{"text": "x" * 131} for _ in range(90)]
    for suffix in ("", ".gz"):
        path = write_jsonl(tmp_path / f"a.jsonl{suffix}", [*short, *long])
        # By the first ten lines of 23 bytes, lines of 144 count for 6.3 each.
        expected = sum(len(json.dumps(row)) + 1 for row in [*short, *long]) / 23
        estimate = inputs.estimate_rows(inspect(path).files)
        assert estimate == pytest.approx(expected, rel=0.1 if suffix else 0.001)


@pytest.mark.parametrize("name", ["b.parquet", "b.jsonl.gz"])
def test_a_file_that_cannot_be_opened_is_refused_or_listed(tmp_path, name):
    kind = "Parquet" if name.endswith("parquet") else "JSONL"
    for path in (tmp_path / name.replace("b", "a", 1), tmp_path / name):
        if kind == "Parquet":
            pq.write_table(pa.Table.from_pylist(objects(50)), path)
        else:
            write_jsonl(path, objects(50))
    truncated(tmp_path / name, 0.3)
    message = f"^{tmp_path}/{name}: expected a readable {kind} file, found [^;\n]*"
    hint = "; --allow_broken_files lists it in the manifest and goes on without it$"
    with pytest.raises(RefusedError, match=message + hint):
        inspect(tmp_path, allow_broken_files=False)
    with pytest.raises(RefusedError, match=f"{message}$"):
        inspect(tmp_path)  # a command that has no such option
    given = inspect(tmp_path, allow_broken_files=True)
    assert names(given, tmp_path) == [name.replace("b", "a", 1)]
    (entry,) = given.broken
    size = (tmp_path / name).stat().st_size
    assert (entry["path"], entry["bytes_not_read"]) == (str(tmp_path / name), size)
    assert entry["error"]
    with pytest.raises(RefusedError, match=r"expected (at least one readable|lines that are JSON)"):
        inspect(tmp_path / name, allow_broken_files=True)


def test_lines_are_sampled_behind_a_mark_and_past_lines_that_are_no_objects(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a", "id": 1}\r\n\r\nno json\n[1]\n{"text": "b"}')
    given = inspect(path)
    assert given.schema == pa.schema([("text", pa.string()), ("id", pa.int64())])
    path.write_bytes(b"\nno json\n")
    with pytest.raises(RefusedError, match=r"found b'no json' \(.* no JSON: .*line 1 column 1 "):
        inspect(path)
    path.write_bytes(b'\n["a"]\n')
    with pytest.raises(RefusedError, match=r"""found b'\["a"\]' \(.*found array \['a'\]\)"""):
        inspect(path)


def test_what_was_learned_is_one_value_that_can_be_narrowed(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [*objects(2), {"id": 2, "text": None}])
    given = inspect(path, checkpoint_bytes=10)
    assert (given.text_columns, given.checkpoint_bytes, given.broken) == (("text",), 10, ())
    assert ids(given) == [0, 1]
    assert ids(replace(given, text_columns=())) == [0, 1, 2]
