"""Files that break midway: the job fails, or lists what it could not read."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tango_beam.errors import JobError, RefusedError
from tests.jobs import accounted, corpus, truncated, write_jsonl


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_a_truncated_stream_fails_the_job_or_is_accounted(job, tmp_path, suffix):
    rng = np.random.default_rng(5)
    rows = [{"id": n, "text": f"good {rng.bytes(30).hex()}"} for n in range(12_000)]
    path = truncated(write_jsonl(tmp_path / f"in{suffix}", rows))
    with pytest.raises(JobError, match=rf"in{suffix}.*Truncated.*--allow_broken_files"):
        job(path)
    code, found, letters, manifest = job(path, options=["--allow_broken_files", "--overwrite"])
    assert code == 0
    accounted(found, letters, manifest)
    (broken,) = manifest["broken_files"]
    assert broken["path"] == str(path)
    whole = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    read = whole[: broken["read_up_to_byte"]].count(b"\n")
    assert 0 < read < 12_000
    assert sorted(row["id"] for row in found) == list(range(read))


def test_a_truncated_file_between_others_is_listed_once(job, tmp_path):
    rng = np.random.default_rng(6)
    rows = [{"id": n, "text": f"good {rng.bytes(30).hex()}"} for n in range(9000)]
    for number in range(3):
        path = tmp_path / f"{number}.jsonl.gz"
        write_jsonl(path, rows[3000 * number : 3000 * number + 3000])
    truncated(tmp_path / "1.jsonl.gz", 0.8)
    code, found, letters, manifest = job(
        tmp_path / "*.gz", options=["--allow_broken_files", "--checkpoint_bytes", "50000"]
    )
    assert code == 0
    accounted(found, letters, manifest)
    assert len(manifest["broken_files"]) == 1
    ids = [row["id"] for row in found]
    assert len(ids) == len(set(ids))
    assert set(range(3000)) | set(range(6000, 9000)) < set(ids)


def test_a_parquet_file_cut_short_is_refused_or_listed(job, rng, tmp_path):
    pq.write_table(pa.Table.from_pylist(corpus(rng, 50)), tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist(corpus(rng, 50)), tmp_path / "b.parquet")
    truncated(tmp_path / "b.parquet")
    with pytest.raises(RefusedError, match=r"b\.parquet: expected a readable Parquet file"):
        job(tmp_path / "*.parquet")
    code, found, _, manifest = job(tmp_path / "*.parquet", options=["--allow_broken_files"])
    assert code == 0
    assert len(found) == 50
    assert manifest["broken_files"][0]["path"].endswith("b.parquet")
    assert manifest["broken_files"][0]["bytes_not_read"] > 0


def test_a_row_group_that_does_not_decode_is_counted_dead(job, rng, tmp_path):
    path = tmp_path / "in.parquet"
    rows = [{"id": n, "text": f"good {rng.bytes(20).hex()}"} for n in range(400)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100, compression="zstd")
    column = pq.ParquetFile(path).metadata.row_group(2).column(1)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    with pytest.raises(JobError, match=r"in\.parquet.*--allow_broken_files"):
        job(path)
    code, found, letters, manifest = job(
        path, options=["--allow_broken_files", "--overwrite", "--max_dead_fraction", "0.5"]
    )
    assert code == 0
    accounted(found, letters, manifest)
    assert manifest["rows"] == {**manifest["rows"], "read": 400, "dead": 100}
    assert {(letter["row_group"], letter["raw"]) for letter in letters} == {(2, None)}
