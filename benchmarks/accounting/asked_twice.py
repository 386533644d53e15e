"""Runs over an endpoint, killed at random moments and resumed: how often is a row asked about?

    python -m benchmarks.accounting.asked_twice --work WORK
    python -m benchmarks.accounting.asked_twice --work WORK --only build

The endpoint is the tests' server in a process of its own, and what it was asked is what it counted.
Each run goes through once without a kill, so that kills are spread over all of it; then anew, killed
by SIGKILL, the whole process group, and resumed until it ends. The bars: without a cache, every row
once, and the rows of one checkpoint again after each kill; with one, those calls that may be under
way at a kill. `pipelines.build` always has one; it asks twice about some rows on purpose.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import common, endpoint_cascade
from tango_beam.building.begun import WORK
from tango_beam.building.build import REPORT
from tango_beam.endpoints.answers_cache import AnswersCache
from tests import forked, killing, tiny
from tests.endpoint_server import PROMPT, Process

MODES = ("classify", "classify_with_cache", "build")
CHECKPOINTS = 16
TEACHER_ROWS = 2000
LATE_SECONDS = 1.0


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes:
      kills: how often it was killed.
      exact: whether it ended well, with every row once.
      rows: that had to be asked about.
      more: calls that are allowed beyond one for each of them and those that kills cost.
    """

    kills: int
    exact: bool
    rows: int
    more: int = 0


@dataclass
class Killer:
    """Says when it is time for the next kill, and notes what the server was doing just then.

    Attributes:
      server: that is asked.
      moments: for kills, ascending: calls after which each is due, and seconds behind them.
      seen: calls until each kill, and calls under way at it.
    """

    server: Process
    moments: tuple[tuple[float, float], ...] = ()
    seen: list[tuple[int, int]] = field(default_factory=list)

    def when(self, kills: int) -> Callable[[], bool]:
        """For the next kill."""
        if kills == len(self.moments):
            return killing.after(killing.MOST_SECONDS)
        calls, seconds = self.moments[kills]

        def is_time() -> bool:
            time.sleep(0.05)  # else the server would have no time for the run
            if self.server.stats()["calls"] <= calls:
                return False
            time.sleep(seconds)
            stats = self.server.stats()
            self.seen.append((stats["calls"], stats["under_way"]))
            return True

        return is_time


When = Callable[[int], Callable[[], bool]]


def classified(ours, url: str, work: Path, when: When, cached: bool) -> Outcome:
    """A run of `pipelines.classify` to its end."""
    texts = endpoint_cascade.texts(4 * ours.rows)
    count = killing.write_inputs(work / "in", killing.rows_of(texts), ours.rows)
    cache = ["--answers_cache", str(work / "answers")] if cached else []
    run = killing.one_run(
        *(work / "in", count, endpoint_cascade.cascade(work / "cascade", url), work / "out", when),
        checkpoint_bytes=checkpoint_bytes(ours.rows),
        options=["--requests", str(ours.requests), *cache],
    )
    return Outcome(run.kills, run.exact, count)


def checkpoint_bytes(rows: int) -> int:
    """Such that a run over four files of so many rows has about `CHECKPOINTS`."""
    lines = map(killing.rows_of(endpoint_cascade.texts(4 * rows)), range(4 * rows))
    return sum(len(line) + 1 for line in lines) // CHECKPOINTS


def rows_in_a_checkpoint(rows: int) -> int:
    """The most rows that fit into one, and the one that ends behind it."""
    lines = map(killing.rows_of(endpoint_cascade.texts(4 * rows)), range(4 * rows))
    sizes = np.cumsum([len(line) + 1 for line in lines])
    ends = np.searchsorted(sizes, sizes + checkpoint_bytes(rows))
    return int((ends - np.arange(len(sizes))).max()) + 1


def built(ours, url: str, work: Path, when: When) -> Outcome:
    """A run of `pipelines.build` to its end."""
    path = common.write_parquet(work / "corpus.parquet", endpoint_cascade.texts(4 * ours.rows))
    (work / "prompt.txt").write_text(PROMPT)
    output = work / "built"
    arguments = [
        *("--input", str(path), "--output", str(output), "--second_tier", f"openai:{url}"),
        *("--model", "judge", "--prompt", str(work / "prompt.txt")),
        *("--labels", ",".join(tiny.LABELS), "--requests", str(ours.requests)),
        *("--agreement", "0.6", "--delta", "0.01", "--students", "static", "--minutes", "3"),
        *("--teacher_rows", str(TEACHER_ROWS)),
    ]
    kills = 0
    while (status := killing.ended(forked.build(arguments), when(kills))) is None:
        kills += 1
    made = output / REPORT
    if status or not made.is_file():
        return Outcome(kills, False, 0)
    report = json.loads(made.read_text())
    rows = sum(report["parts"].values())
    with AnswersCache(str(output / WORK / "answers_cache")) as cache:
        kept = len(cache)
    # It is timed on some rows of its own, as many as are under way a few times over.
    timed = 4 * ours.requests
    steady = report["steadiness"]["rows"]
    return Outcome(kills, rows <= kept <= rows + timed, kept, steady)


def run(mode: str, ours, url: str, work: Path, when: When) -> Outcome:
    """A run of one kind in an empty folder."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if mode == "build":
        return built(ours, url, work, when)
    return classified(ours, url, work, when, cached=mode == "classify_with_cache")


def modes(ours) -> Iterator[dict]:
    """What was seen of each mode."""
    rng = np.random.default_rng(ours.seed)
    options = ("--delay", ours.delay, "--labels", ",".join(tiny.LABELS))
    for mode in ours.only or MODES:
        work = Path(ours.work) / "asked_twice" / mode
        with Process(*options) as server:
            started = time.monotonic()
            alone = run(mode, ours, server.url, work, Killer(server).when)
            whole, calls = time.monotonic() - started, server.stats()["calls"]
        # Spread over all calls; some seconds behind, when the run may do something else.
        due = np.sort(rng.uniform(0, calls, ours.kills)).tolist()
        moments = tuple(zip(due, rng.uniform(0, LATE_SECONDS, ours.kills).tolist(), strict=True))
        with Process(*options) as server:
            killer = Killer(server, moments)
            found = run(mode, ours, server.url, work, killer.when)
            stats = server.stats()
        again = rows_in_a_checkpoint(ours.rows) if mode == "classify" else ours.requests
        most = found.rows + found.more + again * found.kills
        yield {
            "mode": mode,
            **asdict(found),
            "seconds_alone": round(whole, 1),
            "calls_alone": calls,
            "exact": alone.exact and found.exact,
            "landed": sum(under_way > 0 for _, under_way in killer.seen),
            "calls_at_kills": [calls for calls, _ in killer.seen],
            "calls": stats["calls"],
            "bar": most,
            "holds": alone.exact and found.exact and stats["calls"] <= most,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Rows asked about twice because of kills.")
    parser.add_argument("--work", required=True, help="folder for inputs and outputs")
    parser.add_argument("--only", action="append", choices=MODES)
    parser.add_argument("--rows", type=int, default=1000, help="in each of four files")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--delay", type=float, default=0.15, help="seconds before each reply")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    ours = parser.parse_args()
    common.quiet()
    # What runs are forked from is there from now on, so that none of them waits for it.
    killing.ended(forked.classify(["--help"]), lambda: False)
    holds = True
    for seen in modes(ours):
        # A kill that finds no call under way says nothing.
        told = seen["landed"] >= ours.kills / 3
        holds = holds and seen["holds"] and told
        print(json.dumps(seen), flush=True)
        print(
            f"{seen['mode']}: {seen['calls']:,} calls about {seen['rows']:,} rows (bar: "
            f"{seen['bar']:,}), {'exact' if seen['exact'] else 'NOT exact'}; {seen['landed']} of "
            f"{seen['kills']} kills while calls were under way",
            flush=True,
        )
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
