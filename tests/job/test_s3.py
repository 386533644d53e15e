"""The whole job on an object store: S3's protocol on loopback, with its failures."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipelines import compare
from tests import forked, jobs, s3

s3fs = pytest.importorskip("s3fs", reason="needs s3fs (the extra s3)")
pytest.importorskip("moto", reason="needs moto's server (the extra test)")

ROWS = 1200


@pytest.fixture(scope="module")
def server():
    with s3.Server() as started:
        yield started


@pytest.fixture
def bucket(server, request):
    """A file system and a new bucket on it, with Parquet, JSONL and .gz in `in/`."""
    files = s3fs.S3FileSystem(
        key="test",
        secret="test",
        endpoint_url=f"http://127.0.0.1:{server.port}",
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    name = f"b{abs(hash(request.node.name)) % 10**12}"
    files.mkdir(name)
    return files, name


def put_inputs(files, name, tmp_path, kind):
    rows = jobs.corpus(np.random.default_rng(4), ROWS)
    path = tmp_path / f"in.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=300)
    else:
        jobs.write_jsonl(path, rows)
    files.put(str(path), f"{name}/in/in.{kind}")


def start(port, cascade, name, kind, *options, **environment):
    source, output = f"s3://{name}/in/in.{kind}", f"s3://{name}/out"
    given = ["--precision", "fp32", "--checkpoint_bytes", "30000", "--report", *options]
    there = {**s3.KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", **environment}
    return forked.classify(jobs.arguments(cascade, source, output, *given), **there)


def run(*given, **environment):
    """The exit code, and what was said of an error."""
    done = start(*given, **environment)
    return done.ended(), done.err


def exact(files, name):
    """Every id once, and a manifest that says so."""
    manifest = json.loads(files.cat(f"{name}/out/_manifest.json"))
    found = ds.dataset(f"{name}/out", format="parquet", filesystem=files).to_table()
    assert sorted(found["id"].to_pylist()) == list(range(ROWS))
    assert manifest["rows"]["read"] == ROWS
    assert f"{ROWS:,} rows read" in files.cat(f"{name}/out/_report.html").decode()
    left = [path for path in files.find(f"{name}/out") if "/_receipts/" in path or "/_tmp/" in path]
    assert left == []


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz"])
def test_input_and_output_lie_on_s3(server, bucket, cascade, tmp_path, kind):
    files, name = bucket
    put_inputs(files, name, tmp_path, kind)
    code, said = run(server.port, cascade, name, kind)
    assert code == 0, said
    exact(files, name)
    code, said = run(server.port, cascade, name, kind)
    assert code == 2
    assert "--overwrite" in said


def test_a_killed_run_goes_on(server, bucket, cascade, tmp_path):
    files, name = bucket
    put_inputs(files, name, tmp_path, "jsonl")
    process = start(server.port, cascade, name, "jsonl")
    # Checkpoint 1 is being stored, so checkpoint 0 is committed.
    process.wait_for(lambda: files.glob(f"{name}/out/part-000001-*"))
    process.kill()
    assert not files.exists(f"{name}/out/_manifest.json")
    kept = set(files.glob(f"{name}/out/part-*"))
    code, said = run(server.port, cascade, name, "jsonl", "--resume")
    assert code == 0, said
    exact(files, name)
    assert kept & set(files.glob(f"{name}/out/part-*"))


@pytest.mark.parametrize("kind", [pytest.param("busy", marks=pytest.mark.slow), "cut"])
def test_failures_that_pass_are_tried_again(server, bucket, cascade, tmp_path, kind):
    files, name = bucket
    put_inputs(files, name, tmp_path, "parquet")
    with s3.Proxy(server.port, every=9, kind=kind) as proxy:
        code, said = run(proxy.port, cascade, name, "parquet")
        assert proxy.failures > 2
    assert code == 0, said
    exact(files, name)


def test_a_store_that_denies_ends_the_run_with_its_reason(server, bucket, cascade, tmp_path):
    files, name = bucket
    put_inputs(files, name, tmp_path, "parquet")
    with s3.Proxy(server.port, every=1, kind="denied", after=60) as proxy:
        code, said = run(proxy.port, cascade, name, "parquet")
        assert proxy.failures
    assert code == 1, said
    assert said.startswith("failed: ")
    assert "Forbidden" in said or "403" in said or "Denied" in said
    assert not files.exists(f"{name}/out/_manifest.json")


@pytest.mark.parametrize("failing", ["cut", pytest.param("busy", marks=pytest.mark.slow)])
def test_the_cascade_lies_on_s3_too_and_is_copied_once(server, bucket, cascade, tmp_path, failing):
    files, name = bucket
    put_inputs(files, name, tmp_path, "parquet")
    files.put(str(cascade), f"{name}/tiny", recursive=True)
    copies = tmp_path / "copies"
    with s3.Proxy(server.port, every=7, kind=failing) as proxy:
        for port in (proxy.port, server.port):
            given = f"s3://{name}/tiny", name, "parquet", "--overwrite"
            code, said = run(port, *given, TANGO_BEAM_CACHE=str(copies))
            assert code == 0, said
            exact(files, name)
            assert len([path for path in copies.iterdir() if path.is_dir()]) == 2
        assert proxy.failures


def test_a_bucket_that_is_not_there_is_refused(server, cascade):
    code, said = run(server.port, cascade, "nobodys-bucket", "parquet")
    assert code == 2, said
    assert "nobodys-bucket" in said


def test_a_corpus_that_grows_is_gone_on_with_and_runs_are_compared_where_they_lie(
    server, bucket, cascade, tmp_path, monkeypatch, capsys
):
    """`--after`, `--part_bytes` and `compare`, all of whose outputs lie on S3."""
    files, name = bucket
    put_inputs(files, name, tmp_path, "parquet")
    there = {**s3.KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}"}

    def classified(output, *options):
        given = ("--precision", "fp32", "--source_columns", "--part_bytes", "1MB", *options)
        source, target = f"s3://{name}/in/", f"s3://{name}/{output}"
        done = forked.classify(jobs.arguments(cascade, source, target, *given), **there)
        assert done.ended() == 0, done.err
        return json.loads(files.cat(f"{name}/{output}/_manifest.json"))

    assert classified("first")["rows"]["read"] == ROWS
    files.copy(f"{name}/in/in.parquet", f"{name}/in/more.parquet")
    later = classified("second", "--after", f"s3://{name}/first")
    assert later["rows"]["read"] == ROWS
    assert [file["path"].rsplit("/", 1)[-1] for file in later["inputs"]] == ["more.parquet"]
    classified("other", "--threshold", "1")
    for key, value in there.items():
        monkeypatch.setenv(key, value)
    given = [f"s3://{name}/first", f"s3://{name}/other", "--json"]
    assert compare.main(given) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["both"], found["only_a"], found["only_b"]) == (ROWS, 0, ROWS)
