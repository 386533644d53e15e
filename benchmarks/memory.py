"""Peak memory of the job on more rows: `python -m benchmarks.memory --data ... --work ...`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import common, untrained

BAR = 1.15


def peak(path: Path, work: Path, cascade: str) -> tuple[float, dict]:
    """Peak resident memory in MiB, of the job as a process of its own."""
    command = [
        sys.executable, "-m", "pipelines.classify", "--input", str(path),
        "--output", str(work / "out"), "--cascade", cascade, "--overwrite",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the job failed with {status}")
    return usage.ru_maxrss / 1024, json.loads((work / "out" / "_manifest.json").read_text())


def main() -> None:
    parser = common.arguments("Peak resident memory on many rows over that on fewer.")
    parser.add_argument("--few", type=int, default=500_000)
    parser.add_argument("--many", type=int, default=2_000_000)
    ours = parser.parse_args()
    common.quiet()
    work = Path(ours.work)
    source = untrained.dev_and_held_out(ours.data)
    found = {}
    for count in (ours.few, ours.many):
        path = common.write_parquet(work / "memory.parquet", untrained.repeated(source, count))
        started = time.perf_counter()
        found[count], manifest = peak(path, work, ours.cascade)
        rows = manifest["rows"]
        print(
            f"{count:,} rows: {found[count]:,.0f} MiB at most, {rows['escalated']:,} escalated, "
            f"{time.perf_counter() - started:,.0f} s",
            flush=True,
        )
    ratio = found[ours.many] / found[ours.few]
    print(f"{ours.many:,} rows / {ours.few:,} rows = {ratio:.3f} (bar: at most {BAR})")


if __name__ == "__main__":
    main()
