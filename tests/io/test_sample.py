"""A sample is uniform, reproducible and without replacement, whatever the format."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tango_beam.io import inputs, sample


def rows(count):
    return [{"id": n, "text": None if n % 50 == 7 else f"text {n}"} for n in range(count)]


def write(folder, kind, count=1000):
    found = rows(count)
    if kind == "parquet":
        for part in range(4):
            table = pa.Table.from_pylist(found[part::4])
            pq.write_table(table, folder / f"{part}.parquet", row_group_size=90)
        return folder
    for part in range(2):
        lines = "\n".join(json.dumps(row) for row in found[part::2])
        if kind == "gz":
            (folder / f"{part}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
        else:
            (folder / f"{part}.jsonl").write_text(lines)
    return folder


def draw(folder, most=100, part=1.0, seed=0):
    found = inputs.inspect([str(folder)], ["text"])
    return sample.draw(found, ["text", "id"], most, part, seed)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "gz"])
def test_rows_are_drawn_once_each_and_rows_without_a_text_are_dropped(tmp_path, kind):
    found = draw(write(tmp_path, kind), most=1000)
    ids = found.rows["id"].to_pylist()
    texts = found.rows["text"].to_pylist()
    assert len(ids) == len(set(ids)) == 980
    assert all(text == f"text {number}" for number, text in zip(ids, texts, strict=True))
    assert found.corpus == 1000
    assert ids != sorted(ids)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "gz"])
def test_a_seed_gives_the_same_rows_and_another_gives_others(tmp_path, kind):
    folder = write(tmp_path, kind)
    first, again, other = draw(folder), draw(folder), draw(folder, seed=1)
    assert first.rows.equals(again.rows)
    assert not first.rows.equals(other.rows)
    assert first.drawn == 100


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_every_row_is_as_likely_as_any_other(tmp_path, kind):
    folder = write(tmp_path, kind, count=200)
    counts = np.zeros(200)
    for seed in range(400):
        np.add.at(counts, draw(folder, most=40, seed=seed).rows["id"].to_numpy(), 1)
    valid = counts[[n for n in range(200) if n % 50 != 7]]
    # Each is drawn with probability 0.2: deviation 8 around 80; five of them hold for all rows.
    assert abs(valid - 80).max() < 45
    assert abs(valid[:98].mean() - valid[98:].mean()) < 4


def test_at_most_a_part_of_the_corpus_is_drawn(tmp_path):
    assert draw(write(tmp_path, "parquet"), most=500, part=0.1).drawn == 100


def test_rows_whose_texts_are_no_utf8_are_drawn_and_dropped(tmp_path):
    texts = pa.array([b"a", b"\xff", b"b", None]).view(pa.string())
    pq.write_table(pa.table({"id": range(4), "text": texts}), tmp_path / "a.parquet")
    sampled = draw(tmp_path, most=4)
    assert sorted(sampled.rows["id"].to_pylist()) == [0, 2]
    assert (sampled.drawn, sampled.corpus) == (4, 4)
