"""Ten rows in, answers out, in a new process, beside the imports that it cannot do without.

    python -m benchmarks.speed.startup --data DATA --work WORK

The job and `python -c 'import torch, apache_beam'` run in turns, round after round.
"""

import sys
from pathlib import Path

from benchmarks import common, unseen_texts

BAR_SECONDS, BAR_RATIO = 8, 1.7
IMPORTS = "import torch, apache_beam"


def main() -> None:
    parser = common.arguments("Wall time of the job on ten rows, imports and models and all.")
    parser.add_argument("--rounds", type=int, default=5)
    ours = parser.parse_args()
    work = Path(ours.work)
    path = common.write_parquet(work / "ten.parquet", unseen_texts.dev(ours.data)[:10])
    job = common.classify_command(path, work / "out", ours.cascade)
    imports = [sys.executable, "-c", IMPORTS]
    for command in (imports, job):
        common.wall_time(command)  # files into the page cache
    seconds, bare = [], []
    for number in range(ours.rounds):
        bare.append(common.wall_time(imports))
        seconds.append(common.wall_time(job))
        print(
            f"round {number + 1}: ten rows {seconds[-1]:.2f} s, `{IMPORTS}` {bare[-1]:.2f} s: "
            f"{seconds[-1] / bare[-1]:.2f} x",
            flush=True,
        )
    ratios = [job / imports for job, imports in zip(seconds, bare, strict=True)]
    print(
        f"ten rows: {common.middle(seconds):.2f} s (least {min(seconds):.2f}; bar: at most "
        f"{BAR_SECONDS} s); the imports alone {common.middle(bare):.2f} s (least {min(bare):.2f})"
    )
    print(
        f"ten rows / imports = {common.middle(ratios):.2f} (median of the rounds), "
        f"{min(seconds) / min(bare):.2f} (least over least; bar: at most {BAR_RATIO})"
    )


if __name__ == "__main__":
    main()
