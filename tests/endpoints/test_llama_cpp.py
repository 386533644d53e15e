"""Real servers of llama.cpp, with a tiny language model of random weights.

They run where a Python has `llama-cpp-python[server]` or `xllamacpp` (llama.cpp's own server), and
`gguf`: this one, or that which TANGO_BEAM_LLAMA names.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import build, classify
from tango_beam.command_line import DONE
from tests import jobs, tiny

LABELS = ("negative", "positive", "neutral")
PYTHON = os.environ.get("TANGO_BEAM_LLAMA", sys.executable)
OWN = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_ctx, params.n_parallel = 4096, 2
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
threading.Event().wait()
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def command(package, model, port):
    if package == "xllamacpp":
        return [PYTHON, "-c", OWN, model, str(port)]
    return [
        PYTHON,
        "-m",
        "llama_cpp.server",
        "--model",
        model,
        "--port",
        str(port),
        "--n_threads=1",
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
    script = Path(__file__).with_name("tiny_gguf.py")
    subprocess.run([PYTHON, script, path], check=True, capture_output=True, timeout=120)
    return path


@pytest.fixture(scope="module", params=["xllamacpp", "llama_cpp"])
def url(request, tmp_path_factory):
    """Of a server that runs, where its package is."""
    needed = f"import gguf, importlib.util; assert importlib.util.find_spec('{request.param}')"
    if subprocess.run([PYTHON, "-c", needed], capture_output=True, timeout=120).returncode:
        pytest.skip(f"{PYTHON} has no {request.param} and gguf; TANGO_BEAM_LLAMA may name another")
    port, said = free_port(), tmp_path_factory.mktemp("said") / "log"
    made = command(request.param, request.getfixturevalue("model"), port)
    with said.open("w") as log:
        process = subprocess.Popen(made, stdout=log, stderr=log)
    try:
        wait_for(port, process, said)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def wait_for(port, process, said, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, said.read_text()
        with socket.socket() as tried:
            if not tried.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)
    raise AssertionError(f"waited in vain: {said.read_text()}")


@pytest.fixture
def asked(url, tmp_path):
    """Options of a second tier that is such a server."""
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Is it {labels}?\nText: {text}\n")
    named = ("--model", "tiny", "--prompt", str(prompt), "--labels", ",".join(LABELS))
    return ("--second_tier", f"openai:{url}", *named, "--requests", "4")


@pytest.fixture
def corpus(tmp_path, rng):
    def make(count):
        texts = [{"text": f"{tiny.sentence(rng)} {number}"} for number in range(count)]
        return jobs.write_jsonl(tmp_path / "texts.jsonl", texts)

    return make


def test_every_row_gets_a_label_and_its_probability(asked, corpus, tmp_path):
    small = tiny.static(tmp_path / "small", LABELS)
    given = ("--input", corpus(16), "--output", tmp_path / "out", "--first_tier", small)
    assert classify.main([*map(str, given), "--threshold", "1", *asked, "--scores"]) == DONE
    rows, letters, manifest = jobs.read_output(tmp_path / "out")
    assert not letters
    assert [row["route"] for row in rows] == ["escalated"] * 16
    assert {row["prediction"] for row in rows} <= {*LABELS}
    # The server's log probabilities are there: without them every answer is certain.
    assert any(0 < row["confidence"] < 1 for row in rows)
    counted = manifest["asked"]["tier 2"]
    assert counted["tokens_in"] > 16 * 20
    assert 16 * 5 < counted["tokens_out"] <= 16 * 64


@pytest.mark.slow
def test_a_cascade_is_built_of_it(asked, corpus, tmp_path):
    given = ("--input", corpus(600), "--output", tmp_path / "mine", "--teacher_rows", 300)
    goal = ("--agreement", "0.4", "--students", "static", "--minutes", "4")
    assert build.main([*map(str, given), *goal, *asked]) == DONE
    assert (tmp_path / "mine" / "report.html").is_file()
