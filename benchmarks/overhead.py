"""The job against the same work in a bare loop: `python -m benchmarks.overhead --data ... --work ...`."""

from pathlib import Path

from benchmarks import common

BAR = 1.2


def main() -> None:
    parser = common.arguments("Wall time of the job over that of a bare loop without Beam.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    ours = parser.parse_args()
    common.quiet()
    dev = common.corpora.read_labelled(f"{ours.data}/sst2/dev.parquet").texts
    texts = common.repeated(dev, ours.rows)
    work = Path(ours.work)
    path = common.write_parquet(work / "overhead.parquet", texts)
    few = common.write_parquet(work / "few.parquet", texts[:1000])
    common.run_job(few, work, ours.cascade)  # imports, models
    common.bare_loop(texts[:20_000], ours.cascade)
    jobs, loops = [], []
    for number in range(ours.rounds):
        start_up, _ = common.run_job(few, work, ours.cascade, "--limit", "1")
        seconds, manifest = common.run_job(path, work, ours.cascade)
        loop, escalated = common.bare_loop(texts, ours.cascade)
        jobs.append(seconds - start_up)
        loops.append(loop)
        print(
            f"round {number + 1}: job {seconds - start_up:.1f} s (and {start_up:.1f} s of start-up), "
            f"loop {loop:.1f} s, escalated {manifest['rows']['escalated']:,} and {escalated:,}",
            flush=True,
        )
    ratio = common.middle([job / loop for job, loop in zip(jobs, loops, strict=True)])
    print(f"rows {ours.rows:,}: job / bare loop = {ratio:.3f} (bar: at most {BAR})")


if __name__ == "__main__":
    main()
