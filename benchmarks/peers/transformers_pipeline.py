"""Rows a second of the job over those of `transformers.pipeline` on the second tier.

    python -m benchmarks.peers.transformers_pipeline --data DATA --work WORK

Each runs in a process of its own, in turns (see benchmarks/speed/overhead.py for why).
"""

import json
import time
from pathlib import Path

from benchmarks import common, unseen_texts
from tango_beam.cascade_directory import load_cascade

BARS = {"embedded threshold": 9, "first tier alone": 40}


def theirs(texts: list[str], ours) -> dict[str, float]:
    """Rows a second of the pipeline as it comes, fp32, batch 32."""
    from transformers import pipeline

    source = load_cascade(ours.cascade).tiers[-1].source
    classify = pipeline(
        "text-classification", model=source, device="cpu", batch_size=32, dtype="float32"
    )
    classify(texts[:64])
    # It takes minutes: it answers one part of the texts in each round, all of them over all rounds.
    share = -(-len(texts) // ours.rounds)
    part = texts[ours.part * share : (ours.part + 1) * share]
    started = time.perf_counter()
    classify(part, truncation=True, max_length=256)
    return {"pipeline": len(part) / (time.perf_counter() - started)}


def cascade(texts: list[str], ours) -> dict[str, float]:
    """Rows a second of the job, at its cascade's threshold and at 0."""
    work = Path(ours.work)
    path = common.write_parquet(work / "pipeline.parquet", texts)
    common.run_job(path, work, ours.cascade, "--limit", "1000")
    start_up, _ = common.run_job(path, work, ours.cascade, "--limit", "1")
    seconds, manifest = common.run_job(path, work, ours.cascade)
    alone, _ = common.run_job(path, work, ours.cascade, "--threshold", "0")
    return {
        "embedded threshold": len(texts) / seconds,
        "first tier alone": len(texts) / alone,
        "embedded threshold, start-up apart": len(texts) / (seconds - start_up),
        "first tier alone, start-up apart": len(texts) / (alone - start_up),
        "escalated": manifest["rows"]["escalated"] / len(texts),
    }


def measure(what: str, part: int, ours) -> dict[str, float]:
    return common.apart(__spec__.name, **{**vars(ours), "only": what, "part": part})


def main() -> None:
    parser = common.arguments("Rows a second of the cascade over those of transformers.pipeline.")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("pipeline", "cascade"), help="measure one, print JSON")
    parser.add_argument("--part", type=int, default=0, help="with --only pipeline")
    ours = parser.parse_args()
    common.quiet()
    if ours.only:
        texts = unseen_texts.repeated(unseen_texts.dev_and_held_out(ours.data), ours.rows)
        print(json.dumps((theirs if ours.only == "pipeline" else cascade)(texts, ours)))
        return
    rounds = []
    for number in range(ours.rounds):
        seen = measure("pipeline", number, ours) | measure("cascade", number, ours)
        rounds.append(seen)
        shown = ", ".join(f"{name} {seen[name]:,.0f}/s" for name in ("pipeline", *BARS))
        print(f"round {number + 1}: {shown}; {seen['escalated']:.1%} escalated", flush=True)
    for name, bar in BARS.items():
        for what in (name, f"{name}, start-up apart"):
            ratio = common.middle([seen[what] / seen["pipeline"] for seen in rounds])
            print(f"{what} / transformers.pipeline (fp32, batch 32) = {ratio:.1f} (bar: {bar})")


if __name__ == "__main__":
    main()
