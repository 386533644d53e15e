"""The job against `transformers.pipeline` on the second tier: `python -m benchmarks.against_pipeline`."""

import time
from pathlib import Path

from benchmarks import common
from tango_beam.config import load_cascade

BARS = {"embedded threshold": 9, "first tier alone": 40}


def main() -> None:
    parser = common.arguments("Rows a second of the cascade over those of transformers.pipeline.")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    ours = parser.parse_args()
    common.quiet()
    from transformers import pipeline

    texts = common.repeated(common.dev_and_held_out(ours.data), ours.rows)
    work = Path(ours.work)
    path = common.write_parquet(work / "pipeline.parquet", texts)
    source = load_cascade(ours.cascade).tiers[-1].source
    theirs = pipeline(
        "text-classification", model=source, device="cpu", batch_size=32, dtype="float32"
    )
    theirs(texts[:64])
    common.run_job(path, work, ours.cascade, "--limit", "1000")
    rates: dict[str, list[float]] = {"pipeline": [], **{name: [] for name in BARS}}
    # The pipeline takes minutes: it answers one part of the texts in each round, all over all rounds.
    share = -(-len(texts) // ours.rounds)
    for number in range(ours.rounds):
        part = texts[number * share : (number + 1) * share]
        started = time.perf_counter()
        theirs(part, truncation=True, max_length=256)
        rates["pipeline"].append(len(part) / (time.perf_counter() - started))
        seconds, manifest = common.run_job(path, work, ours.cascade)
        rates["embedded threshold"].append(len(texts) / seconds)
        seconds, _ = common.run_job(path, work, ours.cascade, "--threshold", "0")
        rates["first tier alone"].append(len(texts) / seconds)
        escalated = manifest["rows"]["escalated"] / len(texts)
        shown = ", ".join(f"{name} {values[-1]:,.0f}/s" for name, values in rates.items())
        print(f"round {number + 1}: {shown}; {escalated:.1%} escalated", flush=True)
    base = rates["pipeline"]
    for name, bar in BARS.items():
        ratio = common.middle([ours / one for ours, one in zip(rates[name], base, strict=True)])
        print(f"{name} / transformers.pipeline (fp32, batch 32) = {ratio:.1f} (bar: {bar})")


if __name__ == "__main__":
    main()
