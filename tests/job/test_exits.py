"""How the command ends: exit codes, signals, and what it prints."""

import json
import os
import signal
import subprocess

import pytest

from tango_beam import command_line
from tests import forked
from tests.jobs import arguments, command, corpus, write_jsonl


def test_exit_codes_and_messages_reach_the_shell(cascade, tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": "good"}] * 3)
    good = subprocess.run(
        command(cascade, path, tmp_path / "a", "--runner", "DirectRunner"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (good.returncode, good.stderr) == (0, "")
    bad = subprocess.run(
        command(cascade, tmp_path / "none", tmp_path / "b"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert bad.returncode == 2
    assert bad.stderr.startswith("refused: --input")
    assert len(bad.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_ends_the_job_cleanly(cascade, rng, tmp_path, number, code):
    path = write_jsonl(tmp_path / "in.jsonl", corpus(rng, 4000) * 25)
    output = tmp_path / "out"
    process = forked.classify(arguments(cascade, path, output, "--checkpoint_bytes", "20000"))
    process.wait_for(lambda: list(output.glob("part-*")))
    os.kill(process.process.pid, number)
    assert process.ended(30) == code
    assert number.name in process.err
    assert "Traceback" not in process.err
    assert not (output / "_manifest.json").exists()
    assert not (output / "_tmp").exists()


def test_too_many_dead_rows_fail_the_job_and_leave_no_manifest(job, tmp_path, capsys):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": "good"}] * 50 + [b"no"] * 3)
    code, _, letters, manifest = job(path)
    assert code == command_line.TOO_MANY_DEAD
    assert manifest is None
    assert len(letters) == 3
    assert json.loads((tmp_path / "out" / "_failure.json").read_text())["rows"]["dead"] == 3
    assert "expected at most 1.00% dead rows, found 5.66% (3 of 53)" in capsys.readouterr().err


def test_it_is_silent_in_a_pipe_but_for_the_summary(job, rng, tmp_path, capfd):
    job(write_jsonl(tmp_path / "in.jsonl", corpus(rng, 30)))
    printed = capfd.readouterr()
    assert printed.err == ""
    assert "accepted" in printed.out
    assert "escalated" in printed.out
    assert len(printed.out.splitlines()) < 15
