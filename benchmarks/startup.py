"""Ten rows in, answers out, in a new process: `python -m benchmarks.startup --data ... --work ...`."""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks import common, untrained

BAR = 8


def main() -> None:
    parser = common.arguments("Wall time of the job on ten rows, imports and models and all.")
    parser.add_argument("--rounds", type=int, default=5)
    ours = parser.parse_args()
    work = Path(ours.work)
    texts = untrained.dev(ours.data)[:10]
    path = common.write_parquet(work / "ten.parquet", texts)
    seconds, bare = [], []
    for _ in range(ours.rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch, transformers"], check=True)
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()
        subprocess.run([
            sys.executable, "-m", "pipelines.classify", "--input", str(path), "--output",
            str(work / "out"), "--cascade", ours.cascade, "--overwrite",
        ], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        seconds.append(time.perf_counter() - started)
    print(f"`import torch, transformers` alone: {common.middle(bare):.1f} s")
    shown = ", ".join(f"{value:.1f}" for value in seconds)
    print(
        f"ten rows: {common.middle(seconds):.1f} s (rounds: {shown}; bar: at most {BAR} s), "
        f"{common.middle(seconds) / common.middle(bare):.1f} x the import"
    )


if __name__ == "__main__":
    main()
