"""Flink's workers beside the local job, a core each: `python -m benchmarks.flink_scale ...`.

The second tier has BERT-base's shape and answers a fifth of the rows. Held to one core each: the job
in-process, on Flink with one TaskManager (its JVM and its Python worker share the core), and with
two. Driver, job server and JobManager run where they like. Start-up, a run of one row, is apart.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import common, shapes, untrained
from tango_beam.config import load_cascade
from tango_beam.models import bulk
from tango_beam.tier import Compute, load_tier
from tests import flink

BARS = {"two workers / one": "at least 1.7", "one worker / local": "at most 1.3"}
ROWS_IN_A_CHECKPOINT = 1000


def write(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": range(len(texts)), "text": texts})
    pq.write_table(table, path, row_group_size=ROWS_IN_A_CHECKPOINT)
    return path


def threshold(cascade: str, texts: list[str], share: float) -> float:
    """The first-tier confidence under which this share of the texts lies."""
    model = load_tier(load_cascade(cascade).tiers[0], Compute())
    confidences = np.sort(model.decode(bulk.logits_of(model, texts)).confidences)
    return float(confidences[round(share * len(texts))])


def seconds(path: Path, ours, options: list[str], before: list[str]) -> float:
    """Wall time of a run, less that of one of a single row."""
    spent = []
    for limit in ([], ["--limit", "1"]):
        output = Path(ours.work) / "scale" / "out"
        shutil.rmtree(output, ignore_errors=True)
        started = time.perf_counter()
        subprocess.run(
            [*before, sys.executable, "-m", "pipelines.classify", "--input", str(path),
             "--output", str(output), "--checkpoint_bytes", "100000", *options, *limit],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        spent.append(time.perf_counter() - started)
    return spent[0] - spent[1]


def main() -> None:
    parser = common.arguments("Two Flink workers over one, and one over the local job.")
    parser.add_argument("--jars", required=True, help="pyflink/lib of apache-flink-libraries")
    parser.add_argument("--job_server", required=True, help="Beam's Flink job server, a jar")
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--share", type=float, default=0.2, help="escalated")
    parser.add_argument("--rounds", type=int, default=2)
    ours = parser.parse_args()
    common.quiet()
    work, cores = Path(ours.work), sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit(f"expected two cores, found {len(cores)}")
    cascade = shapes.cascade("bert_base", work)
    texts = untrained.of("sst2", ours.data, ours.rows)
    path = write(work / "scale" / "rows.parquet", texts)
    given = ["--cascade", cascade, "--threshold", repr(threshold(cascade, texts, ours.share))]
    found: dict[str, list[float]] = {name: [] for name in BARS}
    for number in range(ours.rounds):
        local = seconds(path, ours, given, ["taskset", "-c", str(cores[0])])
        spent = []
        for count in (1, 2):
            folder = work / "scale" / f"cluster-{number}-{count}"
            with flink.Cluster(Path(ours.jars), folder, cores[:count]) as cluster:
                options = [
                    *given, "--runner", "FlinkRunner", "--flink_master",
                    f"localhost:{cluster.port}", "--flink_job_server_jar", ours.job_server,
                    "--parallelism", str(count),
                ]  # fmt: skip
                spent.append(seconds(path, ours, options, []))
        found["two workers / one"].append(spent[0] / spent[1])
        found["one worker / local"].append(spent[0] / local)
        print(
            f"round {number + 1}: local {local:.1f} s, one worker {spent[0]:.1f} s, two "
            f"{spent[1]:.1f} s",
            flush=True,
        )
    for name, bar in BARS.items():
        what = "rate" if name.startswith("two") else "time"
        print(f"{name}: {common.middle(found[name]):.2f} x the {what} (bar: {bar})")


if __name__ == "__main__":
    main()
