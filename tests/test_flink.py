"""The job on real Flink: the embedded mini cluster, and a standalone one that loses processes."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

from tango_beam import flink as flink_options
from tests import flink, jobs

pytestmark = pytest.mark.flink


@pytest.fixture(scope="module")
def jar(runners):
    assert flink.has_java(), "the tests of Flink need java"
    (found,) = runners.glob("beam-flink-job-server-*.jar")
    return found


@pytest.fixture(scope="module")
def cluster(flink_jars, tmp_path_factory):
    with flink.Cluster(flink_jars, tmp_path_factory.mktemp("flink")) as started:
        yield started


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    rows = jobs.corpus(np.random.default_rng(2), 4000)
    broken = [b"{no json", *rows, {"id": 4000, "text": None, "tags": []}]
    return jobs.write_jsonl(tmp_path_factory.mktemp("texts") / "texts.jsonl", broken)


@pytest.fixture(scope="module")
def locally(cascade, texts, tmp_path_factory):
    output = tmp_path_factory.mktemp("local") / "out"
    subprocess.run(command(cascade, texts, output), check=True, capture_output=True)
    return jobs.read_output(output)


def command(cascade, texts, output, *options):
    given = ["--precision", "fp32", "--checkpoint_bytes", "20000", *options]
    return jobs.command(cascade, texts, output, *given)


def on_flink(jar, master, *options):
    return [
        "--runner", "FlinkRunner", "--flink_master", master, "--flink_job_server_jar", str(jar),
        "--parallelism", "2", *options,
    ]  # fmt: skip


def same(found, expected):
    """The same ids once, with the same answers, and the same dead letters."""
    rows, letters, manifest = found
    jobs.accounted(rows, letters, manifest)
    assert manifest["rows"] == expected[2]["rows"]

    def answers(rows):
        return {row["id"]: (row["prediction"], row["route"], row["tier"]) for row in rows}

    assert len(rows) == len(answers(rows))
    assert answers(rows) == answers(expected[0])
    assert sorted(letter["error"] for letter in letters) == sorted(
        letter["error"] for letter in expected[1]
    )


def begun(output, checkpoints):
    """Whether so many checkpoints were read already."""
    return len(list((output / "_receipts").glob("*.read.*"))) >= checkpoints


def test_defaults_hold_where_the_user_says_nothing():
    local = PipelineOptions(["--runner", "FlinkRunner", "--flink_master", "[local]"])
    far = PipelineOptions(["--runner", "FlinkRunner", "--flink_master", "far:8081"])
    own = PipelineOptions(
        ["--runner", "FlinkRunner", "--flink_master", "far:8081", "--environment_type", "EXTERNAL",
         "--environment_config", "localhost:50000", "--environment_cache_millis", "5"]
    )  # fmt: skip
    for options in (local, far, own):
        assert flink_options.is_flink(options)
        flink_options.fill_in(options)
    views = [options.view_as(PortableOptions) for options in (local, far, own)]
    assert [view.environment_type for view in views] == ["LOOPBACK", "PROCESS", "EXTERNAL"]
    assert json.loads(views[1].environment_config)["command"] == flink_options.worker_command()
    assert views[2].environment_config == "localhost:50000"
    assert [int(view.environment_cache_millis) for view in views] == [60_000, 60_000, 5]


def test_the_embedded_cluster_gives_the_same_rows(cascade, texts, locally, jar, tmp_path):
    output = tmp_path / "out"
    arguments = command(cascade, texts, output, *on_flink(jar, "[local]"))
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    same(jobs.read_output(output), locally)
    assert "accepted" in done.stdout


@pytest.mark.parametrize("placed", ["together", "apart"])
def test_a_cluster_with_its_own_workers_gives_the_same_rows(
    placed, cascade, texts, locally, jar, cluster, tmp_path
):
    output = tmp_path / "out"
    options = on_flink(jar, f"localhost:{cluster.port}", "--placement", placed)
    arguments = command(cascade, texts, output, *options)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    same(jobs.read_output(output), locally)


@pytest.fixture
def pool(tmp_path):
    """Beam's worker pool, as it stands beside a TaskManager; gives its address."""
    port = flink.free_port()
    module = "apache_beam.runners.worker.worker_pool_main"
    arguments = [sys.executable, "-m", module, "--service_port", str(port)]
    log = (tmp_path / "pool").open("wb")
    process = subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=True)
    yield f"localhost:{port}"
    flink.kill(process)


@pytest.mark.parametrize("kind", ["EXTERNAL", "LOOPBACK"])
def test_workers_of_a_pool_or_of_the_driver_give_the_same_rows(
    kind, cascade, texts, locally, jar, cluster, pool, tmp_path
):
    output = tmp_path / "out"
    # One worker: two TaskManagers on one host would call their workers by the same name.
    options = [*on_flink(jar, f"localhost:{cluster.port}"), "--parallelism", "1"]
    options += ["--environment_type", kind]
    options += ["--environment_config", pool] if kind == "EXTERNAL" else []
    arguments = command(cascade, texts, output, *options)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    same(jobs.read_output(output), locally)


@pytest.mark.parametrize(("placed", "processes", "each"), [("together", 2, 2), ("apart", 4, 1)])
def test_a_worker_process_loads_a_model_once(
    placed, processes, each, flink_jars, cascade, texts, jar, tmp_path
):
    """Not once a stage: apart, a TaskManager has a process for either tier."""
    with flink.Cluster(flink_jars, tmp_path / "flink") as fresh:
        options = on_flink(jar, f"localhost:{fresh.port}", "--placement", placed)
        arguments = command(cascade, texts, tmp_path / "out", *options)
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        loaded = fresh.logged(r"process (\d+) loaded (\S+): ")
    assert len(loaded) == len(set(loaded)) == processes * each, loaded
    assert len({process for process, _ in loaded}) == processes


def test_a_killed_driver_does_not_stop_the_job(cascade, texts, locally, jar, cluster, tmp_path):
    output = tmp_path / "out"
    arguments = command(cascade, texts, output, *on_flink(jar, f"localhost:{cluster.port}"))
    log = (tmp_path / "log").open("wb")
    driver = subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=True)
    cluster.wait_for(lambda: begun(output, 1), 120)
    flink.kill(driver)  # and the job server with it
    cluster.wait_for((output / "_manifest.json").exists, 120)
    same(jobs.read_output(output), locally)


@pytest.mark.parametrize("placed", ["together", "apart"])
def test_a_killed_taskmanager_costs_no_row(placed, cascade, texts, locally, jar, cluster, tmp_path):
    output = tmp_path / "out"
    options = on_flink(jar, f"localhost:{cluster.port}", "--placement", placed)
    arguments = command(cascade, texts, output, *options)
    log = (tmp_path / "log").open("wb")
    driver = subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=True)
    try:
        cluster.wait_for(lambda: begun(output, 2), 120)
        flink.kill(cluster.managers.pop())
        time.sleep(1)
        cluster.managers.append(cluster.add_manager())
        assert driver.wait(240) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        flink.kill(driver)
    same(jobs.read_output(output), locally)
