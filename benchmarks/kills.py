"""Runs killed at random moments and resumed until done: `python -m benchmarks.kills --work ...`.

Two JSONL files, a .gz and a .zst, in a cascade of tiny models, so that what counts is the
accounting. Each run is a process of its own, forked from one that has imported the project and computed
nothing yet, which spares the seconds of importing; SIGKILL leaves it no chance to tidy up. After every
kill, what the output directory holds says which checkpoints had been begun and not committed: their
work is done again.
"""

import argparse
import gzip
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import zstandard

from benchmarks import common
from pipelines import classify
from tango_beam import job, report, running, scoring  # noqa: F401 - imported once, for every child
from tango_beam.io import receipts
from tango_beam.models import bilstm, transformer  # noqa: F401

CHECKPOINT_BYTES = 60_000
MOST_SECONDS = 600


def write_inputs(folder: Path, sentences: list[str], rows: int) -> int:
    """Writes `rows` rows into each of four files; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)

    def lines(at: int) -> bytes:
        texts = [sentences[number % len(sentences)] for number in range(at, at + rows)]
        stored = [json.dumps({"id": at + n, "text": text}) for n, text in enumerate(texts)]
        return "\n".join(stored).encode() + b"\n"

    (folder / "a.jsonl").write_bytes(lines(0))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines(rows)))
    (folder / "c.jsonl.zst").write_bytes(zstandard.compress(lines(2 * rows)))
    (folder / "d.jsonl").write_bytes(lines(3 * rows))
    return 4 * rows


def fork(arguments: list[str]) -> int:
    """Starts a run; its process id."""
    child = os.fork()
    if child:
        return child
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os._exit(classify.main(arguments))


def ended(child: int, seconds: float) -> int | None:
    """The exit status of a run that ends in so many seconds; None when it was killed instead."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def begun(output: Path) -> tuple[set[int], set[int]]:
    """Checkpoints that are committed, and those of which something was stored besides."""
    names = [path.name for path in (output / "_receipts").glob("*.json")]
    committed = set(receipts.committed(names))
    seen = {int(name.split(".")[0], 16) for name in names}
    return committed, seen - committed


def one_run(inputs: Path, rows: int, cascade: Path, output: Path, rng) -> dict:
    """Kills and resumes a run until it ends; what was seen."""
    shutil.rmtree(output, ignore_errors=True)
    arguments = [
        "--input", str(inputs), "--output", str(output), "--cascade", str(cascade),
        "--checkpoint_bytes", str(CHECKPOINT_BYTES), "--precision", "fp32", "--resume",
        "--workers", "1",
    ]  # fmt: skip
    kills, redone, lost_commits, before = 0, [], 0, set()
    while True:
        # The first kills come early on purpose: some before anything is written.
        patience = MOST_SECONDS if kills >= 5 else float(rng.uniform(0.05, 2.5))
        status = ended(fork(arguments), patience)
        if status is not None:
            break
        kills += 1
        committed, again = begun(output)
        lost_commits += len(before - committed)
        before = committed
        redone.append(len(again))
    ids = ds.dataset(output, format="parquet").to_table(columns=["id"])["id"].to_pylist()
    manifest = json.loads((output / "_manifest.json").read_text())["rows"]
    exact = Counter(ids) == Counter(range(rows)) and manifest["read"] == rows
    return {
        "status": status, "kills": kills, "exact": exact, "redone": redone,
        "lost_commits": lost_commits,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Ids are exact, however often a run is killed.")
    parser.add_argument("--work", required=True, help="folder for inputs and outputs")
    parser.add_argument("--cascade", required=True, help="a cascade directory; small is quick")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rows", type=int, default=3000, help="in each of four files")
    parser.add_argument("--seed", type=int, default=0)
    ours = parser.parse_args()
    common.quiet()
    work = Path(ours.work) / "kills"
    rng = np.random.default_rng(ours.seed)
    words = ["good", "bad", "dull", "fine", "plot", "actor", "scene", "film", "great", "poor"]
    sentences = [" ".join(rng.choice(words, rng.integers(3, 20))) for _ in range(500)]
    rows = write_inputs(work / "in", sentences, ours.rows)
    found = []
    for number in range(ours.runs):
        run = one_run(work / "in", rows, Path(ours.cascade), work / "out", rng)
        found.append(run)
        print(f"run {number + 1}: {json.dumps(run)}", flush=True)
    exact = sum(run["exact"] and run["status"] == 0 for run in found)
    kills = sum(run["kills"] for run in found)
    most = max((count for run in found for count in run["redone"]), default=0)
    lost = sum(run["lost_commits"] for run in found)
    print(
        f"ids exact in {exact} of {len(found)} runs, {kills} kills; checkpoints begun and to be done "
        f"again after a kill: {most} at most (bar: 1); committed ones lost: {lost}"
    )
    sys.exit(0 if exact == len(found) and most <= 1 and not lost else 1)


if __name__ == "__main__":
    main()
