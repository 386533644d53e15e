"""Several labels and scores against one label: the job on the same texts, by models of one shape.

    python -m benchmarks.speed.kinds --data DATA --work WORK

Each runs in a process of its own, in turns. For spans against a bare loop over the same windows:

    python -m benchmarks.speed.overhead --data DATA --work WORK --kind span --rows 4000
"""

from benchmarks import common
from benchmarks.speed import overhead

BAR = 1.03
COMPARED = ("multi_label", "score")


def main() -> None:
    parser = common.arguments("Wall time of the job on other kinds of answers over that on labels.")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    ours = parser.parse_args()
    common.quiet()
    ratios = {kind: [] for kind in COMPARED}
    for number in range(ours.rounds):
        ran = {}
        for kind in ("labels", *COMPARED):
            given = {"data": ours.data, "work": ours.work, "rows": ours.rows, "kind": kind}
            ran[kind] = common.apart(overhead.__spec__.name, **given, only="job")
        for kind in COMPARED:
            ratios[kind].append(ran[kind]["seconds"] / ran["labels"]["seconds"])
        shown = ", ".join(
            f"{kind} {one['seconds']:.1f} s ({one['escalated']:,} escalated)"
            for kind, one in ran.items()
        )
        print(f"round {number + 1}: {shown}", flush=True)
    for kind, found in ratios.items():
        print(
            f"rows {ours.rows:,}: {kind} / labels = {common.middle(found):.3f} (bar: at most {BAR})"
        )


if __name__ == "__main__":
    main()
