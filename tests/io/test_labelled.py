"""Labelled rows, whatever the format, and what is refused of them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tango_beam.errors import RefusedError
from tango_beam.io.labelled import read_labelled, targets_of
from tests.jobs import truncated, write_jsonl


def test_labels_are_sorted_and_rows_can_be_taken(tmp_path):
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": ["y", "n", "y"]}), path)
    data = read_labelled([str(path)], ["text"], "label")
    assert data.labels == ("n", "y")
    assert data.targets.tolist() == [1, 0, 1]
    assert data.take(np.array([2, 1])).texts.to_pylist() == ["c", "b"]
    with pytest.raises(RefusedError, match=r"--label_column stars: no such column.*text, label"):
        read_labelled([str(path)], ["text"], "stars")


def test_pairs_are_read_and_taken_together(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"one": "a", "two": "b", "label": 1}\n{"one": "c", "two": "d", "label": 0}\n')
    data = read_labelled([str(path)], ["one", "two"], "label")
    assert data.labels == ("0", "1") and data.targets.tolist() == [1, 0]
    assert data.take(np.array([1])).pairs.to_pylist() == ["d"]
    with pytest.raises(RefusedError, match=r"byte 74: column 'two': expected a text, found null"):
        with path.open("a") as file:
            file.write('{"one": "e", "two": null, "label": 1}\n')
        read_labelled([str(path)], ["one", "two"], "label")


def test_dictionaries_and_views_are_texts_and_integers_are_labels(tmp_path):
    columns = {"text": pa.array(["a", "b", "a"]).dictionary_encode(), "label": [3, 1, 3]}
    pq.write_table(pa.table(columns), tmp_path / "1.parquet")
    data = read_labelled([str(tmp_path)], ["text"], "label", ("1", "2", "3"))
    assert data.texts.type == pa.string() and data.texts.to_pylist() == ["a", "b", "a"]
    assert data.targets.dtype == np.int64 and data.targets.tolist() == [2, 0, 2]
    columns = {
        "text": pa.array(["c"], pa.string_view()),
        "label": pa.array(["n"], pa.large_string()),
    }
    pq.write_table(pa.table(columns), tmp_path / "1.parquet")
    assert read_labelled([str(tmp_path)], ["text"], "label").labels == ("n",)


def test_only_the_columns_that_are_named_are_read(tmp_path):
    other = pa.array([b"\xff"]).view(pa.string())
    pq.write_table(
        pa.table({"text": ["a"], "label": ["y"], "other": other}), tmp_path / "a.parquet"
    )
    assert read_labelled([str(tmp_path)], ["text"], "label").texts.to_pylist() == ["a"]
    with pytest.raises(RefusedError, match=r"a\.parquet, row 0: column 'other': expected UTF-8"):
        read_labelled([str(tmp_path)], ["text"], "other")


def test_rows_are_numbered_by_file_in_what_is_refused(tmp_path):
    for number, labels in enumerate((["y", "n"], ["y", "n", None])):
        table = pa.table({"text": ["t"] * len(labels), "label": labels})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=1)
    message = r"^--label_column label: expected no nulls in .*1\.parquet, found one in row 3$"
    with pytest.raises(RefusedError, match=message):
        read_labelled([str(tmp_path)], ["text"], "label")


def test_a_stream_cut_short_is_refused_and_a_whole_one_is_read(tmp_path):
    rng = np.random.default_rng(0)
    rows = [{"text": rng.bytes(30).hex(), "label": n % 2} for n in range(6000)]
    path = write_jsonl(tmp_path / "a.jsonl.gz", rows)
    data = read_labelled([str(path)], ["text"], "label")
    assert data.texts.to_pylist() == [row["text"] for row in rows]
    truncated(path)
    with pytest.raises(RefusedError, match=r"a\.jsonl\.gz: expected to read on, found .*Truncated"):
        read_labelled([str(path)], ["text"], "label")


def test_at_most_five_unknown_labels_are_named():
    with pytest.raises(RefusedError) as refused:
        targets_of([*"gfedcbax"], ("x", "y"), "--label_column l: expected in f")
    expected = "--label_column l: expected in f the labels x, y, found a, b, c, d, e and 2 more"
    assert str(refused.value) == expected
    assert targets_of([*"yxy"], ("x", "y"), "").tolist() == [1, 0, 1]
