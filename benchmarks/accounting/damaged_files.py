"""Damaged files by the thousand: no row of them is lost in silence.

    python -m benchmarks.accounting.damaged_files --work WORK --cascade DIR [--files 10000]

How files are damaged, and the independent reading that says what each holds, is in `tests.fuzzing`.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

from benchmarks import common
from tests import fuzzing


def main() -> None:
    parser = common.arguments_without_data("No damaged input is lost in silence.")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=500, help="files to a run")
    parser.add_argument("--seed", type=int, default=0)
    ours = parser.parse_args()
    common.quiet()
    work, rng = Path(ours.work) / "damaged_files", np.random.default_rng(ours.seed)
    wrong: list[str] = []
    for at in range(0, ours.files, ours.batch):
        kind = fuzzing.KINDS[at // ours.batch % len(fuzzing.KINDS)]
        complaints = kind(work, ours.cascade, min(ours.batch, ours.files - at), rng)
        for line in complaints[:10]:
            print(f"  {kind.__name__}: {line}", flush=True)
        wrong += complaints
        print(f"{at + ours.batch:,} files, {len(wrong)} wrong", flush=True)
        if complaints:
            kept = work.with_name(f"damaged_files-{at}")
            shutil.copytree(work, kept, dirs_exist_ok=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
