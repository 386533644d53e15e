"""The job against the same work in a bare loop without Beam.

    python -m benchmarks.speed.overhead --data DATA --work WORK
    python -m benchmarks.speed.overhead --data DATA --work WORK --kind span --rows 4000

With a kind of answer, models of random weights give it (see `benchmarks.kind_cascades`).
Each runs in a process of its own, in turns: two threads that both call torch keep two teams of
OpenMP threads, more than there are cores, and OpenMP then stops spinning at its barriers, which
slows a small LSTM by half. A user's job has one such thread, and so has a user's loop.
"""

import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import common, kind_cascades
from tango_beam import routing
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import Compute
from tango_beam.models.logits import logits_of_tokens
from tango_beam.models.tokens import Tokens
from tango_beam.resolve import load_tiers

BAR = 1.08


def job(rows: pa.Table, ours) -> dict:
    """Seconds of the job, start-up apart."""
    work, options = Path(ours.work), kind_cascades.options(ours.kind)
    path = work / "overhead.parquet"
    pq.write_table(rows, path, row_group_size=100_000)
    common.run_job(path, work, ours.cascade, "--limit", "1000", *options)  # imports, models
    start_up, _ = common.run_job(path, work, ours.cascade, "--limit", "1", *options)
    seconds, manifest = common.run_job(path, work, ours.cascade, *options)
    escalated = manifest["rows"]["escalated"]
    return {"seconds": seconds - start_up, "start_up": start_up, "escalated": escalated}


def loop(rows: pa.Table, ours) -> dict:
    """Seconds of the loop, models loaded."""
    bare_loop(rows[:1000], ours.cascade)
    seconds, escalated = bare_loop(rows, ours.cascade)
    return {"seconds": seconds, "escalated": escalated}


def bare_loop(rows: pa.Table, cascade: str) -> tuple[float, int]:
    """Seconds and escalated rows of the same models, batches and routing in a plain loop.

    Windows of the tiers' own size are tokenized, cut into the same micro-batches, scored and
    routed; complex rows wait until the second tier's window is full. No file is read or written.
    """
    config = load_cascade(cascade)
    first, second = config.tiers
    small, large = load_tiers(config, Compute())
    columns = [column.combine_chunks() for column in rows.columns[1:]]
    started = time.perf_counter()
    escalated, waiting, held = 0, [], 0
    for at in range(0, rows.num_rows, first.batch_rows):
        texts = [column.slice(at, first.batch_rows) for column in columns]
        tokens = small.tokenize(*texts)
        answers = answered(config, first, small, tokens, texts)
        chosen = np.flatnonzero(routing.is_complex(answers.confidences, config.threshold))
        escalated, held = escalated + len(chosen), held + len(chosen)
        waiting.append((tokens.take(chosen), [column.take(pa.array(chosen)) for column in texts]))
        if held >= second.batch_rows:
            again(config, large, waiting, small.vocabulary)
            waiting, held = [], 0
    if waiting:
        again(config, large, waiting, small.vocabulary)
    return time.perf_counter() - started, escalated


def answered(config, tier, model, tokens, texts):
    return config.decoder(tier)(logits_of_tokens(model, tokens), model.labels, texts[-1])


def again(config, large, waiting, vocabulary) -> None:
    """The second tier's answers; windows of contexts do not travel, as in the job."""
    texts = [pa.concat_arrays(column) for column in zip(*(row for _, row in waiting), strict=True)]
    if large.vocabulary == vocabulary and config.task.kind != "span":
        tokens = Tokens.from_arrow(pa.concat_arrays([part.to_arrow() for part, _ in waiting]))
    else:
        tokens = large.tokenize(*texts)
    answered(config, config.tiers[1], large, tokens, texts)


def main() -> None:
    parser = common.arguments("Wall time of the job over that of a bare loop without Beam.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=kind_cascades.KINDS, help="of answer, in place of sst2")
    parser.add_argument("--only", choices=("job", "loop"), help="measure one, print JSON")
    ours = parser.parse_args()
    common.quiet()
    if ours.only:
        rows = kind_cascades.rows(ours.kind or "labels", ours.data, ours.rows)
        if ours.kind:
            ours.cascade = kind_cascades.cascade(ours.kind, ours.data, Path(ours.work))
        print(json.dumps((job if ours.only == "job" else loop)(rows, ours)))
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
