"""The job against the same work in a bare loop: `python -m benchmarks.overhead --data ... --work ...`.

Each runs in a process of its own, in turns: two threads that both call torch keep two teams of OpenMP
threads, more than there are cores, and OpenMP then stops spinning at its barriers, which slows a small
LSTM by half. A user's job has one such thread, and so has a user's loop.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import common, untrained

BAR = 1.08


def measure(what: str, ours) -> dict:
    """Seconds of one of the two, in a new process, start-up apart."""
    command = [
        sys.executable, "-m", "benchmarks.overhead", "--data", ours.data, "--work", ours.work,
        "--cascade", ours.cascade, "--rows", str(ours.rows), "--only", what,
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def job(texts: list[str], ours) -> dict:
    work = Path(ours.work)
    path = common.write_parquet(work / "overhead.parquet", texts)
    common.run_job(path, work, ours.cascade, "--limit", "1000")  # imports, models
    start_up, _ = common.run_job(path, work, ours.cascade, "--limit", "1")
    seconds, manifest = common.run_job(path, work, ours.cascade)
    escalated = manifest["rows"]["escalated"]
    return {"seconds": seconds - start_up, "start_up": start_up, "escalated": escalated}


def loop(texts: list[str], ours) -> dict:
    common.bare_loop(texts[:1000], ours.cascade)
    seconds, escalated = common.bare_loop(texts, ours.cascade)
    return {"seconds": seconds, "escalated": escalated}


def main() -> None:
    parser = common.arguments("Wall time of the job over that of a bare loop without Beam.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("job", "loop"), help="measure one, print JSON")
    ours = parser.parse_args()
    common.quiet()
    if ours.only:
        dev = untrained.dev(ours.data)
        texts = untrained.repeated(dev, ours.rows)
        print(json.dumps(job(texts, ours) if ours.only == "job" else loop(texts, ours)))
        return
    ratios = []
    for number in range(ours.rounds):
        ran, bare = measure("job", ours), measure("loop", ours)
        ratios.append(ran["seconds"] / bare["seconds"])
        print(
            f"round {number + 1}: job {ran['seconds']:.1f} s (and {ran['start_up']:.1f} s of warm "
            f"start-up), loop {bare['seconds']:.1f} s, escalated {ran['escalated']:,} and "
            f"{bare['escalated']:,}",
            flush=True,
        )
    ratio = common.middle(ratios)
    print(f"rows {ours.rows:,}: job / bare loop = {ratio:.3f} (bar: at most {BAR})")


if __name__ == "__main__":
    main()
