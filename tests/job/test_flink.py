"""The job on real Flink: the embedded mini cluster, and a standalone one that loses processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

from pipelines import classify
from tango_beam.job import flink as flink_options
from tests import flink, forked, jobs, kinds

pytestmark = pytest.mark.flink

# A busy machine takes several times as long as an idle one.
PATIENCE = 240


@pytest.fixture(scope="module")
def jar(runners):
    assert flink.has_java(), "the tests of Flink need java"
    (found,) = runners.glob("beam-flink-job-server-*.jar")
    return found


@pytest.fixture(scope="module")
def standing(flink_jars, tmp_path_factory):
    with flink.Cluster(flink_jars, tmp_path_factory.mktemp("flink")) as started:
        yield started


@pytest.fixture
def cluster(standing):
    """The module's cluster, with all of its slots free whatever the test before left there."""
    yield standing
    standing.clear()


@pytest.fixture(scope="module")
def endpoint(standing, jar):
    """A job server for the cluster, which drivers share."""
    return standing.job_server(jar)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    rows = jobs.corpus(np.random.default_rng(2), 2000)
    broken = [b"{no json", *rows, {"id": 4000, "text": None, "tags": []}]
    return jobs.write_jsonl(tmp_path_factory.mktemp("texts") / "texts.jsonl", broken)


@pytest.fixture(scope="module")
def locally(cascade, texts, tmp_path_factory):
    output = tmp_path_factory.mktemp("local") / "out"
    assert classify.main(arguments(cascade, texts, output)) == 0
    return jobs.read_output(output)


def arguments(cascade, texts, output, *options):
    given = ["--precision", "fp32", "--checkpoint_bytes", "15000", *options]
    return jobs.arguments(cascade, texts, output, *given)


def on_flink(master, *options):
    return ["--runner", "FlinkRunner", "--flink_master", master, "--parallelism", "2", *options]


def same(found, expected):
    """The same ids once, with the same answers, and the same dead letters."""
    rows, letters, manifest = found
    jobs.accounted(rows, letters, manifest)
    assert manifest["rows"] == expected[2]["rows"]

    def answers(rows, said=lambda answer: answer):
        return {row["id"]: (said(row["prediction"]), row["route"], row["tier"]) for row in rows}

    def nearly(answer):  # other batches move a score by a rounding
        return pytest.approx(answer, abs=1e-5) if isinstance(answer, float) else answer

    assert len(rows) == len(answers(rows))
    assert answers(rows) == answers(expected[0], nearly)
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
        [
            "--runner",
            "FlinkRunner",
            "--flink_master",
            "far:8081",
            "--environment_type",
            "EXTERNAL",
            "--environment_config",
            "localhost:50000",
            "--environment_cache_millis",
            "5",
        ]
    )
    for options in (local, far, own):
        flink_options.fill_in(options)
    views = [options.view_as(PortableOptions) for options in (local, far, own)]
    assert [view.environment_type for view in views] == ["LOOPBACK", "PROCESS", "EXTERNAL"]
    assert json.loads(views[1].environment_config)["command"] == flink_options.worker_command()
    assert views[2].environment_config == "localhost:50000"
    assert [int(view.environment_cache_millis) for view in views] == [60_000, 60_000, 5]


def test_the_embedded_cluster_gives_the_same_rows(cascade, texts, locally, jar, tmp_path):
    output = tmp_path / "out"
    options = on_flink("[local]", "--flink_job_server_jar", str(jar))
    driver = forked.classify(arguments(cascade, texts, output, *options))
    assert driver.ended(PATIENCE) == 0, driver.err
    same(jobs.read_output(output), locally)
    assert "accepted" in driver.out


@pytest.mark.parametrize(
    ("placed", "processes", "each"),
    [("together", 2, 2), pytest.param("apart", 4, 1, marks=pytest.mark.nightly)],
)
def test_a_cluster_with_its_own_workers_gives_the_same_rows_and_loads_a_model_once(
    placed, processes, each, cascade, texts, locally, endpoint, cluster, tmp_path
):
    """Once a process, not once a stage: apart, a TaskManager has a process for either tier."""
    output, pattern = tmp_path / "out", r"process (\d+) loaded (\S+): "
    before = set(cluster.logged(pattern))
    options = on_flink(f"localhost:{cluster.port}", "--job_endpoint", endpoint)
    driver = forked.classify(arguments(cascade, texts, output, *options, "--placement", placed))
    assert driver.ended(PATIENCE) == 0, driver.err
    same(jobs.read_output(output), locally)
    loaded = [pair for pair in cluster.logged(pattern) if pair not in before]
    assert len(loaded) == len(set(loaded)) == processes * each, loaded
    assert len({process for process, _ in loaded}) == processes


@pytest.mark.parametrize("kind", kinds.some_nightly("labels", "multi_label", "score"))
def test_three_tiers_of_every_kind_apart_on_a_cluster(kind, endpoint, cluster, tmp_path):
    made = kinds.cascade(tmp_path / "cascade", kind)
    rows = [kinds.line(number, kind) for number in range(600)]
    rows += [kinds.broken(number, kind) for number in range(600, 605)]
    path = jobs.write_jsonl(tmp_path / "in.jsonl", rows)
    options = ["--scores", "--max_dead_fraction", "0.1", *kinds.options(kind)]
    assert classify.main(arguments(made, path, tmp_path / "local", *options)) == 0
    options += on_flink(f"localhost:{cluster.port}", "--job_endpoint", endpoint)
    given = arguments(made, path, tmp_path / "out", *options, "--placement", "apart")
    driver = forked.classify(given)
    assert driver.ended(PATIENCE) == 0, driver.err
    found = jobs.read_output(tmp_path / "out")
    same(found, jobs.read_output(tmp_path / "local"))
    assert {row["tier"] for row in found[0]} == {1, 2, 3}


@pytest.fixture
def pool(tmp_path):
    """Beam's worker pool, as it stands beside a TaskManager; gives its address."""
    port = flink.free_port()
    module = "apache_beam.runners.worker.worker_pool_main"
    # The pool starts its workers as `python`, whichever that is.
    here = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (tmp_path / "pool").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--service_port", str(port)],
            env={**os.environ, **here},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while not flink.listens(port) and process.poll() is None:
        time.sleep(0.05)
    yield f"localhost:{port}"
    flink.kill(process)


@pytest.mark.parametrize("kind", ["EXTERNAL", "LOOPBACK"])
def test_workers_of_a_pool_or_of_the_driver_give_the_same_rows(
    kind, cascade, texts, locally, endpoint, cluster, request, tmp_path
):
    output = tmp_path / "out"
    # One worker: two TaskManagers on one host would call their workers by the same name.
    options = [*on_flink(f"localhost:{cluster.port}"), "--parallelism", "1"]
    options += ["--job_endpoint", endpoint, "--environment_type", kind]
    if kind == "EXTERNAL":
        options += ["--environment_config", request.getfixturevalue("pool")]
    driver = forked.classify(arguments(cascade, texts, output, *options))
    assert driver.ended(PATIENCE) == 0, driver.err
    same(jobs.read_output(output), locally)


def test_a_killed_driver_does_not_stop_the_job(cascade, texts, locally, jar, cluster, tmp_path):
    output = tmp_path / "out"
    options = on_flink(f"localhost:{cluster.port}", "--flink_job_server_jar", str(jar))
    driver = forked.classify(arguments(cascade, texts, output, *options))
    driver.wait_for(lambda: begun(output, 1), PATIENCE)
    driver.kill()  # and the job server with it
    cluster.wait_for((output / "_manifest.json").exists, PATIENCE)
    same(jobs.read_output(output), locally)


@pytest.mark.parametrize("placed", [pytest.param("together", marks=pytest.mark.nightly), "apart"])
def test_a_killed_taskmanager_costs_no_row(
    placed, cascade, texts, locally, endpoint, cluster, tmp_path
):
    output = tmp_path / "out"
    options = on_flink(f"localhost:{cluster.port}", "--job_endpoint", endpoint)
    driver = forked.classify(arguments(cascade, texts, output, *options, "--placement", placed))
    driver.wait_for(lambda: begun(output, 2), PATIENCE)
    flink.kill(cluster.managers.pop())
    time.sleep(1)
    cluster.managers.append(cluster.add_manager())
    assert driver.ended(PATIENCE) == 0, driver.err
    same(jobs.read_output(output), locally)
