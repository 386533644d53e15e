"""The command line end to end, on the in-process runner, with real small models."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import zstandard

from pipelines import classify
from tango_beam import command_line
from tango_beam.errors import JobError, RefusedError
from tests import tiny

SCHEMAS = Path(__file__).parent.parent / "schemas"


def schema(name):
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


def corpus(rng, count):
    return [{"id": n, "text": tiny.sentence(rng), "tags": ["t"]} for n in range(count)]


def write_jsonl(path, rows):
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    data = b"\n".join(lines) + b"\n"
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


@pytest.fixture
def job(cascade, tmp_path):
    """Runs the job; returns the exit code, the rows, the dead letters and the manifest."""

    def run(*inputs, output=tmp_path / "out", options=()):
        arguments = ["--output", str(output), "--cascade", str(cascade), "--precision", "fp32"]
        for path in inputs:
            arguments += ["--input", str(path)]
        code = classify.main([*arguments, *options])
        return code, *read_output(output)

    return run


def read_output(output):
    output = Path(output)
    parts = sorted(output.glob("part-*"))
    if parts and parts[0].suffix == ".jsonl":
        rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    else:
        rows = ds.dataset(output, format="parquet").to_table().to_pylist() if parts else []
    letters = [
        json.loads(line)
        for part in sorted(output.glob("_dead_letters/part-*"))
        for line in part.read_text().splitlines()
    ]
    manifest = output / "_manifest.json"
    return rows, letters, json.loads(manifest.read_text()) if manifest.exists() else None


def accounted(rows, letters, manifest):
    counts = manifest["rows"]
    assert counts["read"] == counts["accepted"] + counts["escalated"] + counts["dead"]
    assert counts["dead"] == len(letters)
    assert counts["accepted"] == sum(row["route"] == "accepted" for row in rows)
    assert counts["escalated"] == sum(row["route"] == "escalated" for row in rows)
    assert sum(entry["rows"] for entry in manifest["files"]) == len(rows)


def test_every_row_comes_out_once_and_the_records_fit_their_schemas(job, rng, tmp_path):
    rows = corpus(rng, 300)
    code, found, letters, manifest = job(
        write_jsonl(tmp_path / "in.jsonl", rows),
        options=["--scores", "--source_columns", "--output_format", "jsonl"],
    )
    assert code == 0
    assert sorted(row["id"] for row in found) == list(range(300))
    accounted(found, letters, manifest)
    jsonschema.validate(manifest, schema("manifest"))
    for row in found:
        jsonschema.validate(row, schema("output"))
    data = (tmp_path / "in.jsonl").read_bytes()
    for row in found:
        line = data[row["source_row"] :].split(b"\n", 1)[0]
        assert json.loads(line) == rows[row["id"]]
    assert {"accepted", "escalated"} == {row["route"] for row in found}
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert not left & {"_tmp", "_receipts", "_failure.json"}


BROKEN = {
    b'{"id": %d, "text": null}': "found null",
    b'{"id": %d}': "found null",
    b'{"id": %d, "text": "a"': "no JSON",
    b'{"id": %d, "text": "\xff"}': "expected UTF-8",
    b'{"id": %d, "text": 5}': "expected string, found integer 5",
    b'{"id": %d, "text": "a", "new": 1}': "found the key 'new'",
}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("checkpoint", [1 << 25, 700])
def test_broken_rows_become_dead_letters_and_nothing_is_lost(
    job, rng, tmp_path, suffix, checkpoint
):
    rows = corpus(rng, 200)
    expected = {}
    for number, (pattern, error) in enumerate(BROKEN.items()):
        rows[20 * number + 7] = pattern % (20 * number + 7)
        expected[rows[20 * number + 7]] = error
    path = write_jsonl(tmp_path / f"in{suffix}", rows)
    # Read off a sample that holds the row with an unknown key, the schema would know the key.
    (tmp_path / "schema.json").write_text('{"id": "int64", "text": "string", "tags": ["string"]}')
    options = ["--max_dead_fraction", "0.1", "--schema", str(tmp_path / "schema.json")]
    code, found, letters, manifest = job(
        path, options=[*options, "--checkpoint_bytes", str(checkpoint)]
    )
    assert code == 0
    accounted(found, letters, manifest)
    good = {row["id"] for row in rows if isinstance(row, dict)}
    assert sorted(row["id"] for row in found) == sorted(good)
    whole = b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    for letter in letters:
        jsonschema.validate(letter, schema("dead_letter"))
        line = whole[letter["offset"] :].split(b"\n", 1)[0]
        assert letter["file"] == str(path)
        assert letter["raw_encoding"] == ("base64" if b"\xff" in line else "utf-8")
        assert letter["raw_bytes"] == len(line)
        if letter["raw_encoding"] == "utf-8":
            assert letter["raw"].encode() == line
        assert expected[line] in letter["error"]
    assert len(letters) == len(BROKEN)


def test_parquet_of_any_types_passes_through(job, rng, tmp_path):
    count = 120
    table = pa.table(
        {
            "id": pa.array(range(count), pa.int32()),
            "text": [None if n == 50 else tiny.sentence(rng) for n in range(count)],
            "when": pa.array(range(count), pa.timestamp("us", "UTC")),
            "deep": pa.array([[{"a": n, "b": b"x"}] for n in range(count)]),
            "kind": pa.array(["x", "y"] * (count // 2)).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=25)
    pq.write_table(table.select(["kind", "deep", "when", "text", "id"]), tmp_path / "b.parquet")
    code, found, letters, manifest = job(
        tmp_path / "*.parquet", options=["--max_dead_fraction", "0.5", "--checkpoint_bytes", "900"]
    )
    assert code == 0
    accounted(found, letters, manifest)
    assert [(letter["file"][-9:], letter["row_group"], letter["row"]) for letter in letters] == [
        ("a.parquet", 2, 0), ("b.parquet", 0, 50),
    ]  # fmt: skip
    kept = ds.dataset(tmp_path / "out", format="parquet").to_table()
    assert kept.schema.field("when").type == pa.timestamp("us", "UTC")
    assert kept.schema.field("deep").type == table.schema.field("deep").type
    expected = [row for row in table.to_pylist() if row["text"] is not None]
    columns = [{name: row[name] for name in table.schema.names} for row in found]
    for row in expected:
        assert columns.count(row) == 2


def test_small_checkpoints_give_the_rows_of_one_large_one(job, rng, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 150))
    _, large, _, _ = job(path, output=tmp_path / "large")
    _, small, _, manifest = job(
        path, output=tmp_path / "small", options=["--checkpoint_bytes", "500"]
    )
    assert len(manifest["files"]) > 10
    key = "id"
    for one, other in zip(
        sorted(large, key=lambda r: r[key]), sorted(small, key=lambda r: r[key]), strict=True
    ):
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)
        assert {k: v for k, v in one.items() if "confidence" not in k} == {
            k: v for k, v in other.items() if "confidence" not in k
        }


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz"])
def test_limit_reads_the_first_rows(job, rng, tmp_path, name):
    path = write_jsonl(tmp_path / name, corpus(rng, 90))
    _, found, _, manifest = job(path, options=["--limit", "25"])
    assert sorted(row["id"] for row in found) == list(range(25))
    assert manifest["rows"]["read"] == 25


@pytest.mark.parametrize("checkpoint", [1 << 25, 600])
def test_compressed_and_plain_files_together_are_read_once_each(job, rng, tmp_path, checkpoint):
    rows = corpus(rng, 160)
    for number, suffix in enumerate([".jsonl.gz", ".jsonl.zst", ".jsonl", ".jsonl.gz"]):
        write_jsonl(tmp_path / f"{number}{suffix}", rows[40 * number : 40 * number + 40])
    code, found, letters, manifest = job(
        tmp_path / "*.jsonl*", options=["--checkpoint_bytes", str(checkpoint)]
    )
    assert code == 0
    accounted(found, letters, manifest)
    assert sorted(row["id"] for row in found) == list(range(160))


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


def test_symbolic_links_are_files_too(job, rng, tmp_path):
    (tmp_path / "in").mkdir()
    write_jsonl(tmp_path / "in" / "a.jsonl", corpus(rng, 5))
    (tmp_path / "in" / "b.jsonl").symlink_to(write_jsonl(tmp_path / "x.jsonl", corpus(rng, 6)))
    assert job(tmp_path / "in" / "*.jsonl")[3]["rows"]["read"] == 11


def test_a_later_file_may_have_nulls_where_the_first_may_not(job, tmp_path):
    strict = pa.schema([pa.field("id", pa.int64(), nullable=False), ("text", pa.string())])
    pq.write_table(pa.table({"id": [1], "text": ["good"]}, schema=strict), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": [None, 2], "text": ["a", "b"]}), tmp_path / "b.parquet")
    _, found, _, _ = job(tmp_path / "*.parquet")
    assert {row["id"] for row in found} == {1, 2, None}


def test_limit_on_parquet_reads_the_first_rows(job, rng, tmp_path):
    pq.write_table(
        pa.Table.from_pylist(corpus(rng, 90)), tmp_path / "in.parquet", row_group_size=10
    )
    _, found, _, _ = job(tmp_path / "in.parquet", options=["--limit", "25"])
    assert sorted(row["id"] for row in found) == list(range(25))


def test_columns_picks_what_passes_through(job, rng, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 9))
    _, found, _, _ = job(path, options=["--columns", "id"])
    assert "tags" not in found[0]
    assert {"id", "text"} <= set(found[0])


def test_a_prefix_makes_room_for_columns_of_our_names(job, rng, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": "good", "tier": "gold"}] * 5)
    with pytest.raises(RefusedError, match=r"tier: expected none.*--answer_prefix"):
        job(path)
    _, found, _, _ = job(path, options=["--answer_prefix", "tb_"])
    assert found[0]["tier"] == "gold"
    assert found[0]["tb_tier"] in (1, 2)


def test_a_folder_means_its_files_but_hidden_ones(job, rng, tmp_path):
    folder = tmp_path / "in"
    (folder / "_old").mkdir(parents=True)
    write_jsonl(folder / "a.jsonl", corpus(rng, 5))
    write_jsonl(folder / "b.jsonl", corpus(rng, 6))
    write_jsonl(folder / "_c.jsonl", corpus(rng, 7))
    write_jsonl(folder / "_old" / "d.jsonl", corpus(rng, 8))
    assert job(folder)[3]["rows"]["read"] == 11


def test_memory_urls_are_read_and_written(cascade, rng):
    import fsspec

    memory = fsspec.filesystem("memory")
    with memory.open("/corpus/in.jsonl", "wb") as file:
        file.write(b"".join(json.dumps(row).encode() + b"\n" for row in corpus(rng, 20)))
    code = classify.main([
        "--input", "memory://corpus/*.jsonl", "--output", "memory://answers",
        "--cascade", str(cascade),
    ])  # fmt: skip
    assert code == 0
    manifest = json.loads(memory.cat("/answers/_manifest.json"))
    assert manifest["rows"]["read"] == 20
    assert memory.exists(f"/answers/{manifest['files'][0]['name']}")


def test_two_checkpoints_make_a_cascade_without_a_directory(rng, tmp_path, lstm, bert):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 30))
    options = ["--first_tier", str(lstm), "--second_tier", str(bert), "--threshold", "1"]
    code = classify.main(["--input", str(path), "--output", str(tmp_path / "out"), *options])
    assert code == 0
    assert read_output(tmp_path / "out")[2]["rows"]["escalated"] == 30


def test_too_many_dead_rows_fail_the_job_and_leave_no_manifest(job, tmp_path, capsys):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": "good"}] * 50 + [b"no"] * 3)
    code, _, letters, manifest = job(path)
    assert code == command_line.TOO_MANY_DEAD
    assert manifest is None
    assert len(letters) == 3
    assert json.loads((tmp_path / "out" / "_failure.json").read_text())["rows"]["dead"] == 3
    assert "expected at most 1.00% dead rows, found 5.66% (3 of 53)" in capsys.readouterr().err


def test_output_is_never_mixed_with_an_old_run(job, rng, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 40))
    job(path, options=["--checkpoint_bytes", "500"])
    with pytest.raises(RefusedError, match=r"expected an empty directory, found _manifest\.json"):
        job(path)
    code, found, _, _ = job(path, options=["--overwrite"])
    assert code == 0
    assert sorted(row["id"] for row in found) == list(range(40))


def test_overwrite_touches_nothing_but_a_run(job, rng, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 4))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(RefusedError, match=r"nothing else, found thesis\.txt"):
        job(path, options=["--overwrite"])
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"


def test_overwrite_takes_nobody_elses_parts_and_no_input(job, rng, tmp_path):
    table = pa.Table.from_pylist(corpus(rng, 5))
    (tmp_path / "corpus").mkdir()
    path = tmp_path / "corpus" / "part-0.parquet"
    pq.write_table(table, path)
    other = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 5))
    with pytest.raises(RefusedError, match=r"nothing else, found part-0\.parquet"):
        job(other, output=tmp_path / "corpus", options=["--overwrite"])
    with pytest.raises(RefusedError, match="expected no input in it"):
        job(path, output=tmp_path / "corpus", options=["--overwrite"])
    assert pq.read_table(path).equals(table)


def truncated(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


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


def refusals():
    text = {"text": "good"}
    return {
        "no match": ([], ["--input", "{tmp}/none*.jsonl"], "found no match"),
        "missing column": ([text], ["--text_column", "body"], r"no such column.*text \(string\)"),
        "other type": ([{"text": 5}], [], "expected a column of texts in .*found int64"),
        "missing pair": ([text], ["--text_pair_column", "b"], "--text_pair_column b: no such"),
        "no JSON": ([b"hello", b"world"], [], "expected lines that are JSON objects.*hello"),
        "nothing": ([b""], [], "found no line at all"),
        "typo": ([text], ["--treshold", "0.5"], "--treshold; did you mean --threshold"),
        "Beam typo": ([text], ["--runer", "x"], "--runer; did you mean --runner"),
        "stray word": ([text], ["stray"], "unknown option stray"),
        "threshold": ([text], ["--threshold", "1.5"], "expected 0 to 1, found 1.5"),
        "cascade": ([text], ["--cascade", "nope"], "cascade nope: expected a folder"),
        "one tier": ([text], ["--first_tier", "x"], "found no --second_tier and no --threshold"),
        "columns": ([text], ["--columns", "a"], "--columns a: no such column"),
        "limit": ([text], ["--limit", "0"], "expected at least 1, found 0"),
        "dead fraction": ([text], ["--max_dead_fraction", "2"], "expected 0 to 1, found 2"),
        "schema": ([text], ["--schema", "{tmp}/none.json"], "expected a JSON object of column"),
        "value": ([text], ["--limit", "many"], "invalid int value"),
        "array": ([b'[{"text": "a"}]'], [], "expected lines that are JSON objects.*no object"),
        "empty struct": ([{"text": "a", "m": {}}], [], "column m: expected a type that Parquet"),
        "protocol": ([text], ["--output", "foo://x"], "expected a directory to write in"),
        "output": ([text], ["--output", "/dev/null/x"], "expected a directory to write in"),
    }


@pytest.mark.parametrize("case", refusals())
def test_bad_input_is_refused_at_launch_with_what_was_found(job, tmp_path, case):
    rows, options, message = refusals()[case]
    path = write_jsonl(tmp_path / "in.jsonl", rows or [{"text": "good"}])
    with pytest.raises(RefusedError, match=message):
        job(path, options=[option.format(tmp=tmp_path) for option in options])
    assert not list((tmp_path / "out").glob("part-*"))


def test_files_that_do_not_go_together_are_refused(job, rng, tmp_path):
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a"], "n": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(RefusedError, match=r"b\.parquet.*n: int64 against string"):
        job(tmp_path / "*.parquet")
    write_jsonl(tmp_path / "c.jsonl", [{"text": "a"}])
    with pytest.raises(RefusedError, match="files of one format"):
        job(tmp_path / "*")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(RefusedError, match=r"notes\.txt: expected a name that ends in"):
        job(tmp_path / "notes.txt")


def test_tiers_of_different_labels_are_refused(job, rng, tmp_path, lstm):
    other = tiny.transformer(tmp_path / "other", labels=("no", "yes"))
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 3))
    options = ["--first_tier", str(lstm), "--second_tier", str(other), "--threshold", "0.5"]
    with pytest.raises(RefusedError, match=r"\['negative', 'positive'\], found \['no', 'yes'\]"):
        classify.main(["--input", str(path), "--output", str(tmp_path / "o"), *options])


def test_a_schema_can_be_given(job, tmp_path):
    path = write_jsonl(
        tmp_path / "in.jsonl", [{"text": "a", "n": 1, "t": ["x"], "m": {"s": 2}}] * 3
    )
    given = {"text": "string", "n": "float32", "t": ["string"], "m": {"s": "int8"}}
    (tmp_path / "schema.json").write_text(json.dumps(given))
    job(path, options=["--schema", str(tmp_path / "schema.json")])
    found = ds.dataset(tmp_path / "out", format="parquet").schema
    assert found.field("n").type == pa.float32()
    assert found.field("m").type == pa.struct([("s", pa.int8())])


def test_it_is_silent_in_a_pipe_but_for_the_summary(job, rng, tmp_path, capfd):
    job(write_jsonl(tmp_path / "in.jsonl", corpus(rng, 30)))
    printed = capfd.readouterr()
    assert printed.err == ""
    assert "accepted" in printed.out
    assert "escalated" in printed.out
    assert len(printed.out.splitlines()) < 15


def command(cascade, path, output, *options):
    return [
        sys.executable, "-m", "pipelines.classify", "--input", str(path), "--output", str(output),
        "--cascade", str(cascade), *options,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_ends_the_job_cleanly(cascade, rng, tmp_path, number, code):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 4000) * 100)
    output = tmp_path / "out"
    process = subprocess.Popen(
        command(cascade, path, output, "--checkpoint_bytes", "20000"),
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(output.glob("part-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert number.name in err
    assert "Traceback" not in err
    assert not (output / "_manifest.json").exists()
    assert not (output / "_tmp").exists()


def test_exit_codes_and_messages_reach_the_shell(cascade, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": "good"}] * 3)
    good = subprocess.run(
        command(cascade, path, tmp_path / "a", "--runner", "DirectRunner"),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (good.returncode, good.stderr) == (0, "")
    bad = subprocess.run(
        command(cascade, tmp_path / "none", tmp_path / "b"),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert bad.returncode == 2
    assert bad.stderr.startswith("refused: --input")
    assert len(bad.stderr.splitlines()) == 1


@pytest.mark.runners
def test_prism_gives_the_same_rows(job, cascade, rng, tmp_path, runners):
    (prism,) = runners.glob("prism-*")
    path = write_jsonl(tmp_path / "in.jsonl", [*corpus(rng, 900), b"no"])
    _, here, _, _ = job(path, options=["--checkpoint_bytes", "9000"])
    binary = tmp_path / "prism"
    binary.write_bytes(prism.read_bytes())
    binary.chmod(0o755)
    there = subprocess.run(
        command(
            cascade, path, tmp_path / "there", "--precision", "fp32", "--checkpoint_bytes", "9000",
            "--runner", "PrismRunner", "--prism_location", str(binary),
            "--environment_type", "LOOPBACK",
        ),
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ},
    )  # fmt: skip
    assert there.returncode == 0, there.stderr
    found, letters, manifest = read_output(tmp_path / "there")
    accounted(found, letters, manifest)
    assert manifest["rows"] == {**manifest["rows"], "read": 901, "dead": 1}
    expected = {row["id"]: row["prediction"] for row in here}
    assert {row["id"]: row["prediction"] for row in found} == expected
    assert len(found) == 900
