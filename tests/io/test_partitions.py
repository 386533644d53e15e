"""Columns that the names of folders say, whatever the format of the files below."""

import json

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tango_beam import record_columns
from tango_beam.errors import RefusedError
from tango_beam.io import inputs, partitions, sample
from tango_beam.io.files import InputFile
from tango_beam.io.labelled import read_labelled
from tango_beam.io.planned import from_json, to_json
from tango_beam.io.slice_reader import SliceReader


def write(root, *names, **columns):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {"text": name, **columns}
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist([row]), path)
        else:
            path.write_text(json.dumps(row) + "\n")
    return root


def inspect(*patterns, **options):
    return inputs.inspect([str(pattern) for pattern in patterns], ["text"], **options)


def rows(given, *columns):
    """Values of some columns, by the file's name, which is its text."""
    good = [piece.good for piece in SliceReader(given).read_all()]
    table = pa.Table.from_batches(good)
    assert record_columns.visible(table.schema.names) == given.schema.names
    assert all(table.schema.field(field.name).type == field.type for field in given.schema)
    return {row.pop("text"): row for row in table.select(["text", *columns]).to_pylist()}


LAYOUTS = {
    "texts": ["lang=en/a", "lang=de/a"],
    "a single one": ["lang=en/a"],
    "integers": ["n=1/a", "n=-7/a", "n=007/b"],
    "past 32 bits": ["n=1/a", "n=99999999999/a"],
    "no integers": ["n=1/a", "n=+1/a", "n= 2/a"],
    "floats": ["n=1.5/a", "n=2/a"],
    "null": ["n=1/a", "n=__HIVE_DEFAULT_PARTITION__/a"],
    "null among texts": ["n=x/a", "n=__HIVE_DEFAULT_PARTITION__/a"],
    "nothing": ["n=1/a", "n=/a"],
    "nested": ["year=2024/month=01/a", "year=2024/month=12/a", "year=2025/month=01/a"],
    "some lack it": ["a=1/x", "a=2/b=y/x", "x"],
    "encoded": ["a%20b=c%2Fd/x", "a b=%C3%A9/x"],
    "signs": ["a=b=c/x", "a==d/x"],
    "twice": ["a=1/a=2/x"],
    "folders between": ["a=1/sub/b=2/x", "a=1/other/x"],
    "the file's own name": ["a=1/b=2"],
}


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_values_and_types_are_those_of_pyarrow_dataset(tmp_path, names, suffix):
    write(tmp_path / "theirs", *(f"{name}.parquet" for name in names))
    expected = ds.dataset(tmp_path / "theirs", partitioning="hive").to_table()
    given = inspect(write(tmp_path / "ours", *(f"{name}{suffix}" for name in names)))
    assert given.schema == expected.schema.remove_metadata()
    theirs = {row.pop("text").removesuffix(".parquet"): row for row in expected.to_pylist()}
    ours = rows(given, *expected.schema.names[1:])
    assert {name.removesuffix(suffix): row for name, row in ours.items()} == theirs


@pytest.mark.parametrize(
    "pattern",
    ["", "lang=en", "lang=en/a.parquet", "*/*.parquet", "lang=*/a.parquet", "lang=en/*.parquet"],
)
def test_a_partition_is_found_however_its_files_are_named(tmp_path, pattern):
    write(tmp_path / "run=5" / "data", "lang=en/a.parquet")
    # A folder further up that is no part of the data says nothing.
    given = inspect(tmp_path / "run=5" / "data" / pattern)
    assert rows(given, "lang") == {"lang=en/a.parquet": {"lang": "en"}}
    assert given.schema.names == ["text", "lang"]


def test_the_order_of_patterns_and_their_number_do_not_matter(tmp_path):
    write(tmp_path, "a=1/b=2/x.jsonl", "a=1/c/b=3/x.jsonl")
    for patterns in ([tmp_path, tmp_path / "a=1/c/b=3/x.jsonl"], [*tmp_path.rglob("*.jsonl")]):
        for ordered in (patterns, patterns[::-1]):
            assert sorted(map(str, rows(inspect(*ordered), "b").values())) == [
                "{'b': 2}",
                "{'b': 3}",
            ]


def test_names_on_other_file_systems_are_read(tmp_path):
    file = InputFile("memory:///d/lang=en/a.jsonl", 1, "", "jsonl")
    for pattern in ("memory://d", "memory://d/*/*.jsonl", "memory:///d/lang=en/a.jsonl"):
        found = partitions.find([pattern], [file])
        assert found.values == {file.path: {"lang": "en"}}


def test_columns_chooses_among_them_and_they_serve_as_labels(tmp_path):
    write(tmp_path, "lang=en/n=1/a.parquet", "lang=de/n=2/a.parquet", extra=1)
    assert inspect(tmp_path, columns=["lang"]).schema.names == ["text", "lang"]
    assert inspect(tmp_path, columns=[]).schema.names == ["text"]
    message = r"--columns m: no such column in .*; found text, extra, lang"
    with pytest.raises(RefusedError, match=message):
        inspect(tmp_path, columns=["m"])
    data = read_labelled([str(tmp_path)], ["text"], "lang")
    assert data.labels == ("de", "en") and data.targets.tolist() == [0, 1]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_samples_hold_them(tmp_path, suffix):
    write(tmp_path, f"n=1/a{suffix}", f"n=2/a{suffix}")
    drawn = sample.draw(inspect(tmp_path), ["text", "n"], 10, 1.0, 0)
    assert sorted(drawn.rows["n"].to_pylist()) == [1, 2]


def test_a_folder_goes_before_a_files_own_column_and_says_so(tmp_path):
    write(tmp_path, "lang=en/a.parquet", lang="own")
    given = inspect(tmp_path)
    assert rows(given, "lang") == {"lang=en/a.parquet": {"lang": "en"}}
    note = "column lang: as the names of folders say, which hides what files below hold"
    assert given.notes == (note,)
    # Another type does not matter where no file's own value is read.
    write(tmp_path, "lang=en/a.parquet", lang=[1])
    assert rows(inspect(tmp_path), "lang") == {"lang=en/a.parquet": {"lang": "en"}}
    write(tmp_path, "b.parquet", lang="other")
    write(tmp_path, "lang=en/a.parquet", lang="own")
    both = {"lang=en/a.parquet": {"lang": "en"}, "b.parquet": {"lang": "other"}}
    assert rows(inspect(tmp_path), "lang") == both
    expected = ds.dataset(tmp_path, partitioning="hive").to_table(columns=["text", "lang"])
    assert both == {row["text"]: {"lang": row["lang"]} for row in expected.to_pylist()}


def test_types_of_folders_and_files_that_do_not_agree_are_refused(tmp_path):
    write(tmp_path, "n=1/a.parquet")
    write(tmp_path, "b.parquet", n="x")
    with pytest.raises(RefusedError, match=r"^column n: .* found int32 in the names of folders"):
        inspect(tmp_path)
    assert inspect(tmp_path, columns=[]).schema.names == ["text"]
    write(tmp_path, "b.parquet", n=2**40)
    assert rows(inspect(tmp_path), "n") == {"n=1/a.parquet": {"n": 1}, "b.parquet": {"n": 2**40}}


def test_texts_come_from_the_files(tmp_path):
    write(tmp_path, "text=x/a.parquet")
    assert list(rows(inspect(tmp_path))) == ["text=x/a.parquet"]
    assert inspect(tmp_path).schema.names == ["text"]


def test_a_folder_that_is_no_utf8_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"expected names of folders in UTF-8, found .*%ff"):
        inspect(write(tmp_path, "a=%ff/a.jsonl"))


def test_what_folders_say_is_stored(tmp_path):
    write(tmp_path, "a=1/b=x/x.jsonl", "a=__HIVE_DEFAULT_PARTITION__/x.jsonl", "x.jsonl")
    files = inspect(tmp_path).files
    assert [dict(file.folders) for file in files] == [{"a": 1, "b": "x"}, {"a": None}, {}]
    assert [from_json(json.loads(json.dumps(to_json(file)))) for file in files] == [*files]


def test_a_limit_keeps_them(tmp_path):
    write(tmp_path, "a=1/x.jsonl", "a=2/x.parquet")
    for name in ("a=1/x.jsonl", "a=2/x.parquet"):
        given = inspect(tmp_path / name, limit=1)
        assert [row["a"] for row in rows(given, "a").values()] == [int(name[2])]
