"""The whole job on an object store: S3's protocol on loopback, with its failures."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests import jobs, s3

s3fs = pytest.importorskip("s3fs", reason="needs s3fs (the extra s3)")
pytest.importorskip("moto", reason="needs moto's server (the extra test)")

ROWS = 3000


@pytest.fixture(scope="module")
def server():
    with s3.Server() as started:
        yield started


@pytest.fixture
def bucket(server, request):
    """A file system and a new bucket on it, with Parquet, JSONL and .gz in `in/`."""
    files = s3fs.S3FileSystem(
        key="test", secret="test", endpoint_url=f"http://127.0.0.1:{server.port}",
        skip_instance_cache=True, use_listings_cache=False,
    )  # fmt: skip
    name = f"b{abs(hash(request.node.name)) % 10**12}"
    files.mkdir(name)
    return files, name


def put_inputs(files, name, tmp_path, kind):
    rows = jobs.corpus(np.random.default_rng(4), ROWS)
    path = tmp_path / f"in.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=500)
    else:
        jobs.write_jsonl(path, rows)
    files.put(str(path), f"{name}/in/in.{kind}")


def environment(port):
    return {**os.environ, **s3.KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


def command(cascade, name, kind, *options):
    source, output = f"s3://{name}/in/in.{kind}", f"s3://{name}/out"
    given = ["--precision", "fp32", "--checkpoint_bytes", "30000", *options]
    return jobs.command(cascade, source, output, *given)


def run(port, *given):
    return subprocess.run(
        command(*given), env=environment(port), capture_output=True, text=True, timeout=300
    )


def exact(files, name):
    """Every id once, and a manifest that says so."""
    manifest = json.loads(files.cat(f"{name}/out/_manifest.json"))
    found = ds.dataset(f"{name}/out", format="parquet", filesystem=files).to_table()
    assert sorted(found["id"].to_pylist()) == list(range(ROWS))
    assert manifest["rows"]["read"] == ROWS
    left = [path for path in files.find(f"{name}/out") if "/_receipts/" in path or "/_tmp/" in path]
    assert left == []


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz"])
def test_input_and_output_lie_on_s3(server, bucket, cascade, tmp_path, kind):
    files, name = bucket
    put_inputs(files, name, tmp_path, kind)
    done = run(server.port, cascade, name, kind)
    assert done.returncode == 0, done.stderr
    exact(files, name)
    again = run(server.port, cascade, name, kind)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def test_a_killed_run_goes_on(server, bucket, cascade, tmp_path):
    files, name = bucket
    put_inputs(files, name, tmp_path, "jsonl")
    process = subprocess.Popen(
        command(cascade, name, "jsonl"), env=environment(server.port),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(files.glob(f"{name}/out/part-*")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not files.exists(f"{name}/out/_manifest.json")
    kept = set(files.glob(f"{name}/out/part-*"))
    done = run(server.port, cascade, name, "jsonl", "--resume")
    assert done.returncode == 0, done.stderr
    exact(files, name)
    assert kept & set(files.glob(f"{name}/out/part-*"))


@pytest.mark.parametrize("kind", ["busy", "cut"])
def test_failures_that_pass_are_tried_again(server, bucket, cascade, tmp_path, kind):
    files, name = bucket
    put_inputs(files, name, tmp_path, "parquet")
    with s3.Proxy(server.port, every=9, kind=kind) as proxy:
        done = run(proxy.port, cascade, name, "parquet")
        assert proxy.failures > 2
    assert done.returncode == 0, done.stderr
    exact(files, name)


def test_a_store_that_denies_ends_the_run_with_its_reason(server, bucket, cascade, tmp_path):
    files, name = bucket
    put_inputs(files, name, tmp_path, "parquet")
    with s3.Proxy(server.port, every=1, kind="denied", after=60) as proxy:
        done = run(proxy.port, cascade, name, "parquet")
        assert proxy.failures
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("failed: ")
    assert "Forbidden" in done.stderr or "403" in done.stderr or "Denied" in done.stderr
    assert not files.exists(f"{name}/out/_manifest.json")


def test_the_cascade_lies_on_s3_too_and_is_copied_once(server, bucket, cascade, tmp_path):
    files, name = bucket
    put_inputs(files, name, tmp_path, "parquet")
    files.put(str(cascade), f"{name}/tiny", recursive=True)
    copies = {"TANGO_BEAM_CACHE": str(tmp_path / "copies")}
    for failing in ("cut", "busy"):
        with s3.Proxy(server.port, every=7, kind=failing) as proxy:
            done = subprocess.run(
                command(f"s3://{name}/tiny", name, "parquet", "--overwrite"),
                env={**environment(proxy.port), **copies}, capture_output=True, text=True,
                timeout=300,
            )  # fmt: skip
            assert proxy.failures
        assert done.returncode == 0, done.stderr
        exact(files, name)
        assert len([path for path in (tmp_path / "copies").iterdir() if path.is_dir()]) == 2


def test_a_bucket_that_is_not_there_is_refused(server, cascade):
    done = run(server.port, cascade, "nobodys-bucket", "parquet")
    assert done.returncode == 2, done.stderr
    assert "nobodys-bucket" in done.stderr
