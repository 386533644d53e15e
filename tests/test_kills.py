"""Runs killed at random moments and resumed; `python -m benchmarks.kills` does fifty."""

import json
import subprocess
import sys


def test_killed_runs_end_exact(cascade, tmp_path):
    command = [
        sys.executable, "-m", "benchmarks.kills", "--work", str(tmp_path), "--cascade",
        str(cascade), "--runs", "2", "--rows", "1500", "--seed", "3",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [json.loads(line.split(": ", 1)[1]) for line in done.stdout.splitlines()[:2]]
    assert sum(run["kills"] for run in runs) >= 4
