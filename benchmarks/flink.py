"""200,000 rows on a Flink cluster that loses a TaskManager: `python -m benchmarks.flink --work ... `.

The same rows run in-process, on a standalone cluster (a JobManager and two TaskManagers on this machine,
each TaskManager with a Python worker process of its own), and there again with one TaskManager killed by
SIGKILL midway and replaced. The three must be equal; the work done again is read off the receipts
while the job runs, since the last step deletes them.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks import common
from tango_beam.io import receipts
from tests import flink


def write_rows(path: Path, rows: int) -> Path:
    rng = np.random.default_rng(0)
    words = ["good", "bad", "dull", "fine", "plot", "actor", "scene", "film", "great", "poor"]
    sentences = [" ".join(rng.choice(words, rng.integers(3, 20))) for _ in range(2000)]
    texts = [sentences[number % len(sentences)] for number in range(rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": range(rows), "text": texts}), path, row_group_size=5000)
    return path


class Receipts(threading.Thread):
    """Keeps the names of all receipts that a run ever wrote."""

    def __init__(self, output: Path) -> None:
        super().__init__(daemon=True)
        self._folder, self._over = output / receipts.FOLDER, threading.Event()
        self.names: set[str] = set()

    def run(self) -> None:
        while not self._over.wait(0.05):
            self.names |= {path.name for path in self._folder.glob("*.json")}

    def again(self) -> tuple[int, int]:
        """Rows of attempts that were read whole and did not count, and checkpoints of them."""
        self._over.set()
        counted = receipts.committed(self.names)
        lost: dict[tuple[int, int], int] = {}
        for name in self.names:
            checkpoint, attempt, step, rows, *_ = name.split(".")
            key = int(checkpoint, 16), int(attempt, 16)
            if step == receipts.READ and counted.get(key[0]) != key[1]:
                lost[key] = int(rows)
        return sum(lost.values()), len(lost)


def run(path: Path, output: Path, ours, cluster=None, *, kill: bool = False) -> dict:
    """One run of the job; its seconds, answers and the work done again."""
    shutil.rmtree(output, ignore_errors=True)
    command = [
        sys.executable, "-m", "pipelines.classify", "--input", str(path), "--output", str(output),
        "--cascade", ours.cascade, "--precision", "fp32", "--checkpoint_bytes", "600000",
    ]  # fmt: skip
    if cluster:
        command += [
            "--runner", "FlinkRunner", "--flink_master", f"localhost:{cluster.port}",
            "--flink_job_server_jar", ours.job_server, "--parallelism", "2",
        ]  # fmt: skip
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
    found = ds.dataset(output, format="parquet").to_table(columns=["id", "prediction", "route"])
    manifest = json.loads((output / "_manifest.json").read_text())["rows"]
    return {
        "code": code, "seconds": round(seconds, 1), "rows": manifest, "rows_again": rows,
        "checkpoints_again": checkpoints, "table": found.sort_by("id"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Flink gives the rows that a local run gives.")
    parser.add_argument("--work", required=True, help="folder for inputs and outputs")
    parser.add_argument("--cascade", required=True, help="a cascade directory; small is quick")
    parser.add_argument("--jars", required=True, help="pyflink/lib of apache-flink-libraries")
    parser.add_argument("--job_server", required=True, help="Beam's Flink job server, a jar")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kill_after", type=int, default=6, help="checkpoints, about")
    ours = parser.parse_args()
    common.quiet()
    work = Path(ours.work) / "flink"
    path = write_rows(work / "in" / "rows.parquet", ours.rows)
    runs = {"in-process": run(path, work / "local", ours)}
    with flink.Cluster(Path(ours.jars), work / "cluster") as cluster:
        runs["Flink"] = run(path, work / "flink", ours, cluster)
        runs["Flink, one TaskManager killed"] = run(path, work / "killed", ours, cluster, kill=True)
    expected = runs["in-process"]["table"]
    exact = True
    for name, found in runs.items():
        same = found.pop("table").equals(expected)
        exact &= same and found["code"] == 0 and found["rows"]["read"] == ours.rows
        print(f"{name}: {'equal' if same else 'NOT EQUAL'}, {found}", flush=True)
    sys.exit(0 if exact else 1)


if __name__ == "__main__":
    main()
