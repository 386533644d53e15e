import os
from pathlib import Path

# Files of tests run side by side: each on its share of the cores, in what it starts as well.
os.environ.update(
    {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // int(workers)))}
    if (workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"))
    else {}
)
# No hub: what is loaded lies on disk.
os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis
import numpy as np
import pytest
import torch

from pipelines import classify
from tango_beam.models import thread_pool
from tests import jobs, tiny
from tests.browser import browse, probe  # noqa: F401 (fixtures)

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile(
    "plain", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("plain")


def pytest_collection_modifyitems(items):
    """Passes over what takes long, and says so, unless `TANGO_BEAM_SLOW`, `_NIGHTLY` are set."""
    for mark in ("slow", "nightly"):
        named = f"TANGO_BEAM_{mark.upper()}"
        if os.environ.get(named):
            continue
        for item in items:
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"{mark}: {named} is not set"))


@pytest.fixture(scope="session")
def cascade(tmp_path_factory) -> Path:
    """A cascade directory of two tiny tiers that read the same word pieces."""
    return tiny.cascade(tmp_path_factory.mktemp("cascade") / "tiny")


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Path:
    return tiny.transformer(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def lstm(tmp_path_factory) -> Path:
    return tiny.bilstm(tmp_path_factory.mktemp("lstm"))


@pytest.fixture(scope="session")
def static(tmp_path_factory) -> Path:
    return tiny.static(tmp_path_factory.mktemp("static"))


@pytest.fixture
def job(cascade, tmp_path):
    """Runs the job; returns the exit code, the rows, the dead letters and the manifest."""

    def run(path, output=tmp_path / "out", options=()):
        given = jobs.arguments(cascade, path, output, "--precision", "fp32", *options)
        return classify.main(given), *jobs.read_output(output)

    return run


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one thread: on tiny networks several would only wait for each other."""
    thread_pool.workers()  # counts torch's threads once, for good
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _folder(variable: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} names no folder")
    assert Path(folder).is_dir(), f"{variable} names {folder}, which is no folder"
    return Path(folder)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of labelled data sets."""
    return _folder("TANGO_BEAM_DATA")


@pytest.fixture(scope="session")
def flink_jars() -> Path:
    """The folder of Flink's jars (`pyflink/lib` of apache-flink-libraries)."""
    return _folder("TANGO_BEAM_FLINK")


@pytest.fixture(scope="session")
def runners() -> Path:
    """The folder of Beam's runners."""
    return _folder("TANGO_BEAM_RUNNERS")
