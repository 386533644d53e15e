"""The job against the same work in a bare loop without Beam.

    python -m benchmarks.speed.overhead --data DATA --work WORK

Each runs in a process of its own, in turns: two threads that both call torch keep two teams of
OpenMP threads, more than there are cores, and OpenMP then stops spinning at its barriers, which
slows a small LSTM by half. A user's job has one such thread, and so has a user's loop.
"""

import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import common, unseen_texts
from tango_beam import routing
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import Compute
from tango_beam.models.logits import logits_of_tokens
from tango_beam.models.tokens import Tokens
from tango_beam.resolve import load_tiers

BAR = 1.08


def job(texts: list[str], ours) -> dict:
    """Seconds of the job, start-up apart."""
    work = Path(ours.work)
    path = common.write_parquet(work / "overhead.parquet", texts)
    common.run_job(path, work, ours.cascade, "--limit", "1000")  # imports, models
    start_up, _ = common.run_job(path, work, ours.cascade, "--limit", "1")
    seconds, manifest = common.run_job(path, work, ours.cascade)
    escalated = manifest["rows"]["escalated"]
    return {"seconds": seconds - start_up, "start_up": start_up, "escalated": escalated}


def loop(texts: list[str], ours) -> dict:
    """Seconds of the loop, models loaded."""
    bare_loop(texts[:1000], ours.cascade)
    seconds, escalated = bare_loop(texts, ours.cascade)
    return {"seconds": seconds, "escalated": escalated}


def bare_loop(texts: list[str], cascade: str) -> tuple[float, int]:
    """Seconds and escalated rows of the same models, batches and routing in a plain loop.

    Windows of the tiers' own size are tokenized, cut into the same micro-batches, scored and
    routed; complex rows wait until the second tier's window is full. No file is read or written.
    """
    config = load_cascade(cascade)
    first, second = config.tiers
    small, large = load_tiers(config, Compute())
    started = time.perf_counter()
    escalated, waiting = 0, []
    for at in range(0, len(texts), first.batch_rows):
        tokens = small.tokenize(pa.array(texts[at : at + first.batch_rows]))
        answers = config.decoder(first)(logits_of_tokens(small, tokens), small.labels)
        rows = np.flatnonzero(routing.is_complex(answers.confidences, config.threshold))
        escalated += len(rows)
        waiting.append(tokens.take(rows))
        if sum(map(len, waiting)) >= second.batch_rows:
            config.decoder(second)(logits_of_tokens(large, joined(waiting)), large.labels)
            waiting = []
    if waiting:
        config.decoder(second)(logits_of_tokens(large, joined(waiting)), large.labels)
    return time.perf_counter() - started, escalated


def joined(waiting: list[Tokens]) -> Tokens:
    return Tokens.from_arrow(pa.concat_arrays([tokens.to_arrow() for tokens in waiting]))


def main() -> None:
    parser = common.arguments("Wall time of the job over that of a bare loop without Beam.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("job", "loop"), help="measure one, print JSON")
    ours = parser.parse_args()
    common.quiet()
    if ours.only:
        texts = unseen_texts.repeated(unseen_texts.dev(ours.data), ours.rows)
        print(json.dumps(job(texts, ours) if ours.only == "job" else loop(texts, ours)))
        return
    ratios = []
    for number in range(ours.rounds):
        ran, bare = (
            common.apart(__spec__.name, **{**vars(ours), "only": what}) for what in ("job", "loop")
        )
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
