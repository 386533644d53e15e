"""Two Flink workers over one, and one over the local job, a core each; wants `taskset` and Java.

    python -m benchmarks.speed.flink_workers --data DATA --work WORK --jars JARS --job_server JAR

The second tier has BERT-base's shape and answers a fifth of the rows. Held to one core each: the
job in-process, on Flink with one TaskManager (its JVM and its Python worker share the core), and
with two. Driver, job server and JobManager run where they like. Start-up, a run of one row, is
apart.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import common, model_pairs, unseen_texts
from tests import flink

BARS = {"two workers / one": "at least 1.7", "one worker / local": "at most 1.3"}
ROWS_IN_A_CHECKPOINT = 1000


def seconds(work: Path, cascade: str, given: list[str], before: Sequence[str] = ()) -> float:
    """Wall time of a run, less that of one of a single row."""
    spent = []
    for limit in ([], ["--limit", "1"]):
        shutil.rmtree(work / "out", ignore_errors=True)
        options = ["--checkpoint_bytes", "100000", *given, *limit]
        command = common.classify_command(work / "rows.parquet", work / "out", cascade, *options)
        spent.append(common.wall_time([*before, *command], stderr=subprocess.DEVNULL))
    return spent[0] - spent[1]


def cluster_seconds(work: Path, cascade: str, given: list[str], cores: list[int], ours) -> float:
    """The same on a cluster with a TaskManager on each of some cores."""
    folder = Path(tempfile.mkdtemp(prefix="cluster-", dir=work))
    with flink.Cluster(Path(ours.jars), folder, cores) as cluster:
        options = common.on_flink(cluster.port, ours.job_server, len(cores))
        return seconds(work, cascade, [*given, *options])


def main() -> None:
    parser = common.arguments("Two Flink workers over one, and one over the local job.")
    common.add_flink(parser)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--share", type=float, default=0.2, help="escalated")
    parser.add_argument("--rounds", type=int, default=2)
    ours = parser.parse_args()
    common.quiet()
    work, cores = Path(ours.work) / "scale", sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit(f"expected two cores, found {len(cores)}")
    cascade = model_pairs.cascade("bert_base", work.parent)
    texts = unseen_texts.of("sst2", ours.data, ours.rows)
    common.write_parquet(work / "rows.parquet", texts, ROWS_IN_A_CHECKPOINT)
    (threshold,) = model_pairs.thresholds(cascade, texts, [ours.share])
    given = ["--threshold", repr(threshold)]
    ratios: dict[str, list[float]] = {name: [] for name in BARS}
    for number in range(ours.rounds):
        local = seconds(work, cascade, given, ["taskset", "-c", str(cores[0])])
        one, two = (cluster_seconds(work, cascade, given, cores[:count], ours) for count in (1, 2))
        ratios["two workers / one"].append(one / two)
        ratios["one worker / local"].append(one / local)
        print(
            f"round {number + 1}: local {local:.1f} s, one worker {one:.1f} s, two {two:.1f} s",
            flush=True,
        )
    for name, bar in BARS.items():
        what = "rate" if name.startswith("two") else "time"
        print(f"{name}: {common.middle(ratios[name]):.2f} x the {what} (bar: {bar})")


if __name__ == "__main__":
    main()
