"""Labelled rows, whatever the format, and what is refused of them."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tango_beam.errors import RefusedError
from tango_beam.io.label_columns import targets_of
from tango_beam.io.labelled import read_labelled
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


def write(path, labels, **columns):
    count = len(labels)
    table = {"text": [f"text {n}" for n in range(count)], "label": labels, **columns}
    pq.write_table(pa.table(table), path, row_group_size=2)
    return str(path)


LISTS = [["b", "a"], [], ["c"], ["a", "a"]]
SETS = [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    "column",
    [
        LISTS,
        pa.array(LISTS, pa.large_list(pa.large_string())),
        pa.array(LISTS, pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        [json.dumps(labels) for labels in LISTS],
    ],
)
def test_lists_of_labels_become_sets(tmp_path, column):
    path = write(tmp_path / "a.parquet", column)
    data = read_labelled([path], ["text"], "label", kind="multi_label")
    assert data.labels == ("a", "b", "c") and data.targets.dtype == np.float32
    assert data.targets.tolist() == SETS
    assert data.take(np.array([2])).targets.tolist() == [[0, 0, 1]]
    known = read_labelled([path], ["text"], "label", ("c", "x", "a", "b"), kind="multi_label")
    assert known.targets[:, [2, 3, 0]].tolist() == SETS


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.csv.gz"])
def test_lists_are_read_of_lines_too(tmp_path, name):
    rows = [{"text": "t", "label": labels} for labels in ([1, 2], [], [2])]
    if "csv" in name:
        lines = [f't,"{row["label"]}"' for row in rows]
        text = "\n".join(["text,label", *lines]).encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    else:
        write_jsonl(tmp_path / name, rows)
    data = read_labelled([str(tmp_path)], ["text"], "label", kind="multi_label")
    assert data.labels == ("1", "2") and data.targets.tolist() == [[1, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    "column",
    [
        [1.5, -2.0, 3e4],
        [1, 2, 3],
        pa.array([1, 2, 3], pa.uint64()),
        ["1.5", "-2", "3e4"],
        pa.array(["1.5", "2.5", "3.5"]).cast(pa.decimal128(5, 1)),
    ],
)
def test_scores_are_numbers(tmp_path, column):
    path = write(tmp_path / "a.parquet", column)
    data = read_labelled([path], ["text"], "label", kind="score")
    assert data.targets.dtype == np.float32 and data.labels == ("label",)
    assert data.targets.tolist() == [[float(value)] for value in pa.array(column).to_pylist()]


@pytest.mark.parametrize(
    ("column", "kind"),
    [(LISTS, "multi_label"), (["a", "b"], "labels"), ([1, 2], "labels")],
)
def test_a_columns_type_states_its_kind(tmp_path, column, kind):
    path = write(tmp_path / "a.parquet", column)
    assert read_labelled([path], ["text"], "label", kind=None).kind == kind


def test_fractions_may_be_scores_or_names(tmp_path):
    path = write(tmp_path / "a.parquet", [0.5, 1.0])
    with pytest.raises(RefusedError, match=r"label: expected --task score or --task labels .*do"):
        read_labelled([path], ["text"], "label", kind=None)
    assert read_labelled([path], ["text"], "label", kind="labels").labels == ("0.5", "1.0")


@pytest.mark.parametrize(
    ("kind", "bad", "good", "message"),
    [
        ("score", None, 1.0, "no nulls in {file}, found one in row 4"),
        ("score", float("nan"), 1.0, "finite scores in {file}, found nan in row 4"),
        ("score", float("-inf"), 1.0, "finite scores in {file}, found -inf in row 4"),
        ("score", 1e39, 1.0, r"finite scores in {file}, found 1e\+39 in row 4"),
        ("score", "high", "1", "finite scores in {file}, found 'high' in row 4"),
        ("score", "", "1", "finite scores in {file}, found '' in row 4"),
        ("score", True, False, r"scores \(a column of numbers\) in {file}, found bool in row 1"),
        ("multi_label", None, ["a"], "no nulls in {file}, found one in row 4"),
        ("multi_label", ["a", None], ["a"], r"lists of labels in {file}, found .*None\] in row 4"),
        ("multi_label", "[null]", "[]", r"lists of labels in {file}, found \[None\] in row 4"),
        ("multi_label", '[["a"]]', "[]", r"lists of labels in {file}, found .* in row 4"),
        ("multi_label", '"a"', "[]", "JSON arrays of labels in {file}, found .* in row 4"),
        ("multi_label", "a, b", "[]", "JSON arrays of labels in {file}, found 'a, b' in row 4"),
        ("multi_label", 2, 1, "lists of labels .* in {file}, found int64 in row 1"),
        ("multi_label", ["a", "x"], ["a"], "the labels a, b in {file}, found x in row 4"),
    ],
)
def test_what_is_no_answer_of_its_kind_is_refused_by_file_and_row(
    tmp_path, kind, bad, good, message
):
    write(tmp_path / "1.parquet", [good] * 4)
    write(tmp_path / "2.parquet", [good, good, good, bad])
    file = r".*1\.parquet" if "row 1" in message else r".*2\.parquet"
    expected = message.replace("{file}", file)
    with pytest.raises(RefusedError, match=f"^--label_column label: expected {expected}$"):
        labels = ("a", "b") if kind == "multi_label" else None
        read_labelled([str(tmp_path)], ["text"], "label", labels, kind=kind)


def test_rows_are_grouped_by_a_column(tmp_path):
    pairs = ["x", None, "y", "x", None]
    path = write(tmp_path / "a.parquet", [1, 2, 3, 4, 5], topic=pairs)
    data = read_labelled([path], ["text"], "label", group_column="topic")
    assert data.groups.tolist() == [0, 1, 2, 0, 1]
    assert data.take(np.array([3, 2])).groups.tolist() == [0, 2]
    assert read_labelled([path], ["text"], "label", group_column="text").groups.max() == 4
    path = write(tmp_path / "a.parquet", [1] * 5, topic=pa.array(pairs).dictionary_encode())
    again = read_labelled([path], ["text"], "label", group_column="topic")
    assert again.groups.tolist() == data.groups.tolist()
    with pytest.raises(RefusedError, match="--label_column or --held_out_by author: no such"):
        read_labelled([path], ["text"], "label", group_column="author")
    write(tmp_path / "a.parquet", [1, 2], topic=[["x"], ["y"]])
    with pytest.raises(RefusedError, match="--held_out_by topic: expected plain values, found lis"):
        read_labelled([path], ["text"], "label", group_column="topic")
