"""Peak memory of the job on many rows over that on fewer.

    python -m benchmarks.speed.memory --data DATA --work WORK
    python -m benchmarks.speed.memory --data DATA --work WORK --texts short --many 4000000
    python -m benchmarks.speed.memory --data DATA --work WORK --texts spans --few 100000 --many 400000

Sentences run through both tiers; short texts, of one to six words, through the first tier alone,
where what the job keeps for each row weighs most; questions with contexts, of up to four windows,
through two tiny readers (bar: 1.1).
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import common, unseen_texts
from benchmarks.speed.against_tree import FIRST_TIER, short
from tests import kinds

BAR, SPAN_BAR = 1.05, 1.1
SPANS = 10_000  # that differ


def peak(path: Path, output: Path, cascade: str, *options: str) -> tuple[float, dict]:
    """Peak resident memory in MiB, of the job as a process of its own; and its manifest."""
    command = common.classify_command(path, output, cascade, *options)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the job failed with {status}")
    return usage.ru_maxrss / 1024, common.manifest_of(output)


def write(ours, path: Path, count: int) -> Path:
    """Writes so many rows; they are gone from memory then."""
    if ours.texts == "spans":
        some = [json.loads(kinds.line(number, "span")) for number in range(SPANS)]
        rows = pa.Table.from_pylist(some).take(pa.array(np.arange(count) % SPANS))
        pq.write_table(rows, path, row_group_size=100_000)
        return path
    if ours.texts == "short":
        return common.write_parquet(path, short(ours.data, count))
    texts = unseen_texts.repeated(unseen_texts.dev_and_held_out(ours.data), count)
    return common.write_parquet(path, texts)


def main() -> None:
    parser = common.arguments("Peak resident memory on many rows over that on fewer.")
    parser.add_argument("--few", type=int, default=500_000)
    parser.add_argument("--many", type=int, default=2_000_000)
    parser.add_argument("--texts", choices=["sentences", "short", "spans"], default="sentences")
    parser.add_argument("--precision", default="auto")
    ours = parser.parse_args()
    common.quiet()
    work = Path(ours.work)
    options = ["--precision", ours.precision, *(FIRST_TIER if ours.texts == "short" else ())]
    bar = BAR
    if ours.texts == "spans":
        options += kinds.options("span")
        ours.cascade, bar = str(kinds.cascade(work / "readers", "span", tiers=2)), SPAN_BAR
    peaks = {}
    for count in (ours.few, ours.many):
        path = write(ours, work / "memory.parquet", count)
        started = time.perf_counter()
        peaks[count], manifest = peak(path, work / "out", ours.cascade, *options)
        print(
            f"{count:,} rows: {peaks[count]:,.0f} MiB at most, "
            f"{manifest['rows']['escalated']:,} escalated, "
            f"{time.perf_counter() - started:,.0f} s",
            flush=True,
        )
    ratio = peaks[ours.many] / peaks[ours.few]
    print(f"{ours.many:,} rows / {ours.few:,} rows = {ratio:.3f} (bar: at most {bar})")


if __name__ == "__main__":
    main()
