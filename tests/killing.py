"""Runs killed and resumed until done, and what is counted of them.

Two JSONL files, a .gz and a .zst, in a cascade of tiny models, so that what counts is the
accounting. Each run is a process of its own (`tests.forked`); SIGKILL leaves it no chance to tidy
up. After every kill, what the output directory holds says which checkpoints had been begun and not
committed: their work is done again.
"""

import contextlib
import gzip
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import zstandard

from tango_beam.run import receipts
from tango_beam.run.layout import MANIFEST, RECEIPTS
from tests import forked, kinds

CHECKPOINT_BYTES = 60_000
MOST_KILLS = 5
DEAD, CHECKPOINTS = 100, 40
MOST_SECONDS = 600
WORDS = ("good", "bad", "dull", "fine", "plot", "actor", "scene", "film", "great", "poor")


@dataclass(frozen=True)
class Killed:
    """What was seen of a run that was killed and resumed until it ended.

    Attributes:
      status: exit code of the last process.
      kills: how often it was killed.
      exact: whether it ended well, with every id once, broken rows among the dead.
      redone: checkpoints that were begun and not committed, after each kill.
      lost_commits: committed checkpoints that were no longer so after a later kill.
    """

    status: int
    kills: int
    exact: bool
    redone: tuple[int, ...]
    lost_commits: int


def sentences(rng: np.random.Generator, count: int) -> list[str]:
    return [" ".join(rng.choice(WORDS, rng.integers(3, 20))) for _ in range(count)]


def rows_of(texts: Sequence[str]) -> Callable[[int], bytes]:
    """The line of each row, by number."""
    return lambda n: json.dumps({"id": n, "text": texts[n % len(texts)]}).encode()


def write_inputs(folder: Path, line: Callable[[int], bytes], rows: int) -> int:
    """Writes `rows` lines into each of four files; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)

    def lines(at: int) -> bytes:
        return b"".join(line(number) + b"\n" for number in range(at, at + rows))

    (folder / "a.jsonl").write_bytes(lines(0))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines(rows)))
    (folder / "c.jsonl.zst").write_bytes(zstandard.compress(lines(2 * rows)))
    (folder / "d.jsonl").write_bytes(lines(3 * rows))
    return 4 * rows


def ended(run: forked.Forked, is_time: Callable[[], bool]) -> int | None:
    """The exit code of a run that ends by itself; None when it was killed because it was time.

    With it is killed all that it started.
    """
    while run.process.is_alive() and not is_time():
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGKILL)
    run.process.join()
    return None if run.process.exitcode == -signal.SIGKILL else run.process.exitcode


def after(seconds: float) -> Callable[[], bool]:
    """Says whether this time has passed."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def begun(output: Path) -> tuple[set[int], set[int]]:
    """Checkpoints that are committed, and those of which something was stored besides."""
    names = [path.name for path in (output / RECEIPTS).glob("*.json")]
    committed = set(receipts.committed(names))
    seen = {receipts.ReceiptName.parse(name).origin.checkpoint for name in names}
    return committed, seen - committed


def one_run(
    inputs: Path,
    rows: int,
    cascade: str,
    output: Path,
    when: Callable[[int], Callable[[], bool]],
    *,
    dead: int = 0,
    checkpoint_bytes: int = CHECKPOINT_BYTES,
    options: Sequence[str] = (),
) -> Killed:
    """Kills and resumes a run until it ends.

    Args:
      inputs: what `write_inputs` wrote.
      rows: how many there are.
      cascade: a cascade directory.
      output: of the run.
      when: given how often it was killed, returns what says that it is time for the next kill.
      dead: every so manieth row is broken, from the first one on; 0 for none.
      checkpoint_bytes: input that is read, scored and stored at a time.
      options: of the job.
    """
    shutil.rmtree(output, ignore_errors=True)
    arguments = [
        *("--input", str(inputs), "--output", str(output), "--cascade", cascade),
        *("--checkpoint_bytes", str(checkpoint_bytes), "--workers", "1"),
        *("--precision", "fp32", "--resume", *options),
    ]
    redone: list[int] = []
    lost_commits, before = 0, set()
    while (status := ended(forked.classify(arguments), when(len(redone)))) is None:
        committed, again = begun(output)
        lost_commits += len(before - committed)
        before = committed
        redone.append(len(again))
    ids = ds.dataset(output, format="parquet").to_table(columns=["id"])["id"].to_pylist()
    counts = json.loads((output / MANIFEST).read_text())["rows"]
    broken = {*range(0, rows, dead)} if dead else set()
    lines = [line for path in (output / "_dead_letters").glob("part-*") for line in path.open("rb")]
    exact = status == 0 and Counter(ids) == Counter({*range(rows)} - broken)
    exact = exact and counts["read"] == rows and counts["dead"] == len(lines) == len(broken)
    exact = exact and counts["accepted"] + counts["escalated"] == len(ids)
    return Killed(status, len(redone), exact, tuple(redone), lost_commits)


def killed_at_random(work: Path, cascade: str, runs: int, rows: int, seed: int) -> Iterator[Killed]:
    """Runs that are each killed at up to five random moments."""
    rng = np.random.default_rng(seed)
    count = write_inputs(work / "in", rows_of(sentences(rng, 500)), rows)

    def when(kills: int) -> Callable[[], bool]:
        # The first kills come early on purpose: some before anything is written.
        return after(MOST_SECONDS if kills >= MOST_KILLS else float(rng.uniform(0.05, 2.5)))

    for _ in range(runs):
        yield one_run(work / "in", count, cascade, work / "out", when)


def killed_once(work: Path, cascade: str, rows: int) -> Killed:
    """A run that is killed as soon as a checkpoint is committed."""
    line = rows_of(sentences(np.random.default_rng(0), 500))
    count = write_inputs(work / "in", line, rows)

    def when(kills: int) -> Callable[[], bool]:
        return after(MOST_SECONDS) if kills else lambda: bool(begun(work / "out")[0])

    return one_run(work / "in", count, cascade, work / "out", when)


def killed_twice(work: Path, kind: str, rows: int) -> Killed:
    """A run over rows of one kind of answer, a hundredth of them broken, killed at each third."""
    cascade = kinds.cascade(work / kind, kind, tiers=2)

    def line(number: int) -> bytes:
        return kinds.line(number, kind) if number % DEAD else kinds.broken(number // DEAD, kind)

    inputs, output = work / f"{kind}_in", work / f"{kind}_out"
    count = write_inputs(inputs, line, rows)
    size = sum(len(line(number)) for number in range(0, 4 * rows, 97)) * 97

    def when(kills: int) -> Callable[[], bool]:
        done = (kills + 1) * CHECKPOINTS // 3
        return after(MOST_SECONDS * 10) if kills == 2 else lambda: len(begun(output)[0]) >= done

    return one_run(
        *(inputs, count, str(cascade), output, when),
        dead=DEAD,
        checkpoint_bytes=size // CHECKPOINTS,
        options=["--max_dead_fraction", "0.02", *kinds.options(kind)],
    )
