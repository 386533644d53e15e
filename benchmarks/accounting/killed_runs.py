"""Runs killed at random moments and resumed until done: every id comes out once.

    python -m benchmarks.accounting.killed_runs --work WORK --cascade DIR
    python -m benchmarks.accounting.killed_runs --work WORK --kind span --rows 50000

With a kind of answer, tiny models give it to rows of which one in a hundred is broken, and the run
is killed twice.

How runs are killed, and what is counted, is in `tests.killing`.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import common
from tests import killing, kinds


def main() -> None:
    parser = argparse.ArgumentParser(description="Ids are exact, however often a run is killed.")
    parser.add_argument("--work", required=True, help="folder for inputs and outputs")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--cascade", help="a cascade directory; small is quick")
    given.add_argument("--kind", choices=kinds.TASKS, help="of answer")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rows", type=int, default=3000, help="in each of four files")
    parser.add_argument("--seed", type=int, default=0)
    ours = parser.parse_args()
    common.quiet()
    work = Path(ours.work) / "killed_runs"
    runs = []
    if ours.kind:
        each = iter([killing.killed_twice(work, ours.kind, ours.rows)])
    else:
        each = killing.killed_at_random(work, ours.cascade, ours.runs, ours.rows, ours.seed)
    for run in each:
        runs.append(run)
        print(f"run {len(runs)}: {json.dumps(asdict(run))}", flush=True)
    exact = sum(run.exact for run in runs)
    kills = sum(run.kills for run in runs)
    most = max((count for run in runs for count in run.redone), default=0)
    lost = sum(run.lost_commits for run in runs)
    print(
        f"ids exact in {exact} of {len(runs)} runs, {kills} kills; checkpoints begun and to be "
        f"done again after a kill: {most} at most (bar: 1); committed ones lost: {lost}"
    )
    sys.exit(0 if exact == len(runs) and most <= 1 and not lost else 1)


if __name__ == "__main__":
    main()
