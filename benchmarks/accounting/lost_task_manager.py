"""200,000 rows on a Flink cluster that loses a TaskManager: the rows of a local run come out.

    python -m benchmarks.accounting.lost_task_manager --work WORK --cascade DIR --jars JARS \\
        --job_server JAR

The same rows run in-process, on a standalone cluster (a JobManager and two TaskManagers on this
machine, each TaskManager with a Python worker process of its own), and there again with one
TaskManager killed by SIGKILL midway and replaced. The three must be equal; the work done again is
read off the receipts while the job runs, since the last step deletes them.
"""

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from benchmarks import common
from tango_beam.run import receipts
from tango_beam.run.layout import RECEIPTS
from tests import flink
from tests.killing import sentences


class Receipts(threading.Thread):
    """Keeps the names of all receipts that a run ever wrote."""

    def __init__(self, output: Path) -> None:
        super().__init__(daemon=True)
        self._folder, self._over = output / RECEIPTS, threading.Event()
        self.names: set[str] = set()

    def run(self) -> None:
        while not self._over.wait(0.05):
            self.names |= {path.name for path in self._folder.glob("*.json")}

    def again(self) -> tuple[int, int]:
        """Rows of attempts that were read whole and did not count, and checkpoints of them."""
        self._over.set()
        counted = set(receipts.committed(self.names).items())
        parsed = map(receipts.ReceiptName.parse, self.names)
        lost = {
            name.key: name.rows
            for name in parsed
            if name.step == receipts.READ and name.key not in counted
        }
        return sum(lost.values()), len(lost)


def run(path: Path, output: Path, ours, cluster=None, *, kill: bool = False) -> dict:
    """One run of the job; its seconds, answers and the work done again."""
    shutil.rmtree(output, ignore_errors=True)
    options = ["--precision", "fp32", "--checkpoint_bytes", "600000"]
    if cluster:
        options += common.on_flink(cluster.port, ours.job_server, 2)
    command = common.classify_command(path, output, ours.cascade, *options)
    watcher = Receipts(output)
    watcher.start()
    started = time.perf_counter()
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    if kill:
        cluster.wait_for(lambda: len(watcher.names) >= 3 * ours.kill_after, 240)
        flink.kill(cluster.managers.pop())
        cluster.managers.append(cluster.add_manager())
    code = driver.wait(560)
    seconds = time.perf_counter() - started
    rows, checkpoints = watcher.again()
    answers = ds.dataset(output, format="parquet").to_table(columns=["id", "prediction", "route"])
    return {
        "code": code,
        "seconds": round(seconds, 1),
        "rows": common.manifest_of(output)["rows"],
        "rows_again": rows,
        "checkpoints_again": checkpoints,
        "table": answers.sort_by("id"),
    }


def main() -> None:
    parser = common.arguments_without_data("Flink gives the rows that a local run gives.")
    common.add_flink(parser)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kill_after", type=int, default=6, help="checkpoints, about")
    ours = parser.parse_args()
    common.quiet()
    work = Path(ours.work) / "flink"
    some = sentences(np.random.default_rng(0), 2000)
    texts = [some[number % len(some)] for number in range(ours.rows)]
    path = common.write_parquet(work / "in" / "rows.parquet", texts, rows_in_a_group=5000)
    runs = {"in-process": run(path, work / "local", ours)}
    with flink.Cluster(Path(ours.jars), work / "cluster") as cluster:
        runs["Flink"] = run(path, work / "flink", ours, cluster)
        runs["Flink, one TaskManager killed"] = run(path, work / "killed", ours, cluster, kill=True)
    expected = runs["in-process"]["table"]
    exact = True
    for name, seen in runs.items():
        same = seen.pop("table").equals(expected)
        exact &= same and seen["code"] == 0 and seen["rows"]["read"] == ours.rows
        print(f"{name}: {'equal' if same else 'NOT EQUAL'}, {seen}", flush=True)
    sys.exit(0 if exact else 1)


if __name__ == "__main__":
    main()
