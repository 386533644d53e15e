"""The command line end to end, on the in-process runner, with real small models."""

import json

import jsonschema
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipelines import classify
from tango_beam.errors import RefusedError
from tests import forked, tiny
from tests.jobs import accounted, arguments, corpus, read_output, schema, write_jsonl


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
    b'{"id": %d, "text": 5}': "expected a text, found integer 5",
    b'{"id": %d, "text": "a", "new": 1}': "found the key 'new'",
}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("checkpoint", [1 << 25, 1500])
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
    options += ["--unknown_keys", "dead"]
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
        ("a.parquet", 2, 0),
        ("b.parquet", 0, 50),
    ]
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
        path, output=tmp_path / "small", options=["--checkpoint_bytes", "1000"]
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


@pytest.mark.parametrize("checkpoint", [1 << 25, 1500])
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
    assert classify.main(arguments(cascade, "memory://corpus/*.jsonl", "memory://answers")) == 0
    manifest = json.loads(memory.cat("/answers/_manifest.json"))
    assert manifest["rows"]["read"] == 20
    assert memory.exists(f"/answers/{manifest['files'][0]['name']}")


def test_two_checkpoints_make_a_cascade_without_a_directory(rng, tmp_path, lstm, bert):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 30))
    options = ["--first_tier", str(lstm), "--second_tier", str(bert), "--threshold", "1"]
    code = classify.main(["--input", str(path), "--output", str(tmp_path / "out"), *options])
    assert code == 0
    assert read_output(tmp_path / "out")[2]["rows"]["escalated"] == 30


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


@pytest.mark.runners
def test_prism_gives_the_same_rows(job, cascade, rng, tmp_path, runners):
    (prism,) = runners.glob("prism-*")
    path = write_jsonl(tmp_path / "in.jsonl", [*corpus(rng, 900), b"no"])
    _, here, _, _ = job(path, options=["--checkpoint_bytes", "9000"])
    binary = tmp_path / "prism"
    binary.write_bytes(prism.read_bytes())
    binary.chmod(0o755)
    options = ["--precision", "fp32", "--checkpoint_bytes", "9000", "--runner", "PrismRunner"]
    options += ["--prism_location", str(binary), "--environment_type", "LOOPBACK"]
    there = forked.classify(arguments(cascade, path, tmp_path / "there", *options))
    assert there.ended() == 0, there.err
    found, letters, manifest = read_output(tmp_path / "there")
    accounted(found, letters, manifest)
    assert manifest["rows"] == {**manifest["rows"], "read": 901, "dead": 1}
    expected = {row["id"]: row["prediction"] for row in here}
    assert {row["id"]: row["prediction"] for row in found} == expected
    assert len(found) == 900
