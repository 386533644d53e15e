"""The job on two cores over the job on one; wants `taskset`.

    python -m benchmarks.speed.cores --data DATA --work WORK

The job as a user runs it, in a process of its own, start-up and all, held to one core or two.
"""

import os
import sys
from pathlib import Path

from benchmarks import common, unseen_texts

BAR = 1.7


def seconds(path: Path, ours, cores: list[int], *options: str) -> float:
    """Wall time of the job on some cores only."""
    held = ["taskset", "-c", ",".join(map(str, cores))]
    output = Path(ours.work) / "out"
    return common.wall_time([*held, *common.classify_command(path, output, ours.cascade, *options)])


def main() -> None:
    parser = common.arguments("Wall time of the job on one core over that on two.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--corpus", choices=unseen_texts.CORPORA, default="sst2")
    parser.add_argument("--rounds", type=int, default=3)
    ours = parser.parse_args()
    at_hand = sorted(os.sched_getaffinity(0))
    if len(at_hand) < 2:
        sys.exit(f"expected two cores, found {len(at_hand)}")
    texts = unseen_texts.of(ours.corpus, ours.data, ours.rows)
    path = common.write_parquet(Path(ours.work) / "cores.parquet", texts)
    whole, apart = [], []
    for number in range(ours.rounds):
        one, two = (seconds(path, ours, at_hand[:count]) for count in (1, 2))
        begin_one, begin_two = (
            seconds(path, ours, at_hand[:count], "--limit", "1") for count in (1, 2)
        )
        whole.append(one / two)
        apart.append((one - begin_one) / (two - begin_two))
        print(
            f"round {number + 1}: one core {one:.1f} s ({begin_one:.1f} s of start-up), two "
            f"{two:.1f} s ({begin_two:.1f} s): {whole[-1]:.2f} x, start-up apart {apart[-1]:.2f} x",
            flush=True,
        )
    print(
        f"{ours.rows:,} rows: two cores / one = {common.middle(whole):.2f}, start-up apart "
        f"{common.middle(apart):.2f} (bar: at least {BAR})"
    )


if __name__ == "__main__":
    main()
