"""Corpora as they are found: folders that say a column, files that differ, texts inside columns."""

import json

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests import jobs

LANGUAGES = ["en", "de", "fr"]
VIEWS = pa.list_(pa.string_view())


def hive(folder, rows):
    """Three folders, each with a file that differs from the others'."""
    shapes = [
        {"text": pa.large_string(), "tags": pa.list_(pa.string())},
        {"text": pa.string_view(), "tags": VIEWS, "id": pa.int32()},
        {"id": pa.int64(), "text": pa.binary()},
    ]
    for number, shape in enumerate(shapes):
        path = folder / f"lang={LANGUAGES[number]}" / f"n={number}" / "part.parquet"
        path.parent.mkdir(parents=True)
        columns = {
            name: pa.array([row[name] for row in rows[number::3]]).cast(kind)
            for name, kind in shape.items()
        }
        pq.write_table(pa.table(columns), path)
    return folder


@pytest.mark.parametrize("output_format", ["parquet", "jsonl"])
def test_folders_and_files_that_differ_are_one_corpus(job, rng, tmp_path, output_format):
    rows = jobs.corpus(rng, 90)
    folder = hive(tmp_path / "in", rows)
    options = ["--output_format", output_format, "--checkpoint_bytes", "1000"]
    code, found, letters, manifest = job(folder, options=options)
    assert code == 0
    jobs.accounted(found, letters, manifest)
    assert len(found) == 90
    for row in found:
        number = LANGUAGES.index(row["lang"])
        assert row["n"] == number
        assert row["tags"] == (None if number == 2 else ["t"])
        assert number == 0 or row["id"] % 3 == number
    if output_format == "parquet":
        schema = ds.dataset(tmp_path / "out", format="parquet").schema
        assert schema.field("lang").type == pa.string() and schema.field("n").type == pa.int32()
        assert schema.field("text").type == pa.large_string()
    assert {row["text"] for row in found} == {row["text"] for row in rows}
    assert job(folder, options=[*options, "--resume"])[0] == 0
    stored = json.loads((tmp_path / "out" / "_run.json").read_text())
    assert [dict(entry["folders"]) for entry in stored["inputs"]] == [
        {"lang": "de", "n": 1},
        {"lang": "en", "n": 0},
        {"lang": "fr", "n": 2},
    ]


def test_texts_inside_lists_are_answered_and_bad_bytes_anywhere_are_dead(job, rng, tmp_path):
    texts = [row["text"] for row in jobs.corpus(rng, 60)]
    messages = [[{"role": "u", "content": text}] for text in texts]
    messages[3] = []
    notes = pa.array([b"\xff" if number == 5 else b"ok" for number in range(60)]).view(pa.string())
    table = {
        "id": range(60),
        "m": pa.array(messages),
        "notes": pa.ListArray.from_arrays(range(61), notes),
    }
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    options = ["--text_column", "m.-1.content", "--max_dead_fraction", "0.1"]
    code, found, letters, manifest = job(tmp_path / "in.parquet", options=options)
    assert code == 0
    jobs.accounted(found, letters, manifest)
    assert sorted(row["id"] for row in found) == [n for n in range(60) if n not in (3, 5)]
    assert all(row["m"] == messages[row["id"]] for row in found)
    assert sorted((letter["row"], letter["error"]) for letter in letters) == [
        (3, "column 'm.-1.content': expected a text, found null"),
        (5, "column 'notes': expected UTF-8, found other bytes"),
    ]
