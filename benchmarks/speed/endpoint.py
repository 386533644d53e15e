"""The rate at which the job asks an endpoint, beside the ideal one; and memory, as rows grow.

    python -m benchmarks.speed.endpoint --work WORK --many 200000
    python -m benchmarks.speed.endpoint --work WORK --rows 10000

Every row goes to an endpoint that answers after a while, in a process of its own: the ideal rate is
the requests under way over the seconds of an answer. Each run of the job is a process of its own;
start-up is a run of as many rows as are asked about at once. Memory is as in
`benchmarks.speed.memory`. It wants an idle machine: a busy one wakes client and server late.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks import common, endpoint_cascade
from benchmarks.speed.memory import BAR, peak
from tests import tiny
from tests.endpoint_server import Process

SHARE = 0.95


def measured(ours, url: str, count: int) -> dict:
    """Seconds of a run over so many rows, and its peak memory."""
    work = Path(ours.work) / "endpoint"
    path = common.write_parquet(work / "in.parquet", endpoint_cascade.texts(count))
    cascade = endpoint_cascade.cascade(work / "cascade", url)
    started = time.perf_counter()
    mib, manifest = peak(path, work / "out", cascade, "--requests", str(ours.requests))
    seconds = time.perf_counter() - started
    calls = manifest["asked"]["tier 2"]["calls"]
    if calls != count or manifest["rows"]["escalated"] != count:
        sys.exit(f"expected {count:,} rows asked about once, found {calls:,} calls")
    return {"rows": count, "seconds": seconds, "mib": mib}


def main() -> None:
    parser = argparse.ArgumentParser(description="The job's rate over an endpoint, and memory.")
    parser.add_argument("--work", required=True, help="folder for inputs and outputs")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--many", type=int, help="rows on which memory is held against --rows")
    parser.add_argument("--delay", type=float, default=0.2, help="seconds before each reply")
    parser.add_argument("--requests", type=int, default=64)
    ours = parser.parse_args()
    common.quiet()
    with Process("--delay", ours.delay, "--labels", ",".join(tiny.LABELS)) as server:
        counts = (ours.requests, ours.rows, *([ours.many] if ours.many else []))
        start_up, few, *many = [measured(ours, server.url, count) for count in counts]
        at_once = server.stats()["most_at_once"]
    ideal = ours.requests / ours.delay
    working = few["seconds"] - start_up["seconds"]
    found = {
        "share": (few["rows"] - start_up["rows"]) / working / ideal,
        "share_of_whole_run": few["rows"] / few["seconds"] / ideal,
        "most_at_once": at_once,
        "runs": [start_up, few, *many],
    }
    bars = {"share": SHARE}
    if many:
        found["memory"], bars["memory"] = many[0]["mib"] / few["mib"], BAR
    holds = found["share"] >= SHARE and at_once <= ours.requests
    holds = holds and found.get("memory", 0.0) <= BAR
    print(json.dumps(found | {"bars": bars, "holds": holds}))
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
