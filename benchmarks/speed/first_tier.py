"""The first tier alone against a bare loop, and against its tokenizer.

    python -m benchmarks.speed.first_tier --data DATA --work WORK
    python -m benchmarks.speed.first_tier --data DATA --work WORK --cascade DIR --corpus imdb

The job at threshold 0 and a loop that tokenizes and scores, each in a process of its own, in turns.
The loop is run in two ways, with all cores on one micro-batch and with one micro-batch on each
core; the faster one counts. Tokenizing alone is what a static first tier is held to: record batches
one after the other, or side by side on every core; the faster one counts, too. The library
`tokenizers`, which knows no words again, stands beside it. IMDB's reviews are the real ones, since
nothing is asked of the answers.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import common, unseen_texts
from tango_beam.answers import LabelDecoder
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import Compute
from tango_beam.models import thread_pool
from tango_beam.models.logits import logits_of_tokens
from tango_beam.resolve import load_tier

BAR = 0.75
STATIC_BAR = 0.6


def texts_of(ours) -> list[str]:
    """What is scored."""
    if ours.corpus == "imdb":
        return unseen_texts.repeated(unseen_texts.reviews(ours.data), ours.rows)
    return unseen_texts.of(ours.corpus, ours.data, ours.rows)


def job(texts: list[str], ours) -> dict:
    """Rows a second of the job at threshold 0."""
    work = Path(ours.work)
    path = common.write_parquet(work / "first_tier.parquet", texts)
    alone = ("--threshold", "0")
    common.run_job(path, work, ours.cascade, "--limit", "1000", *alone)  # imports, models
    start_up, _ = common.run_job(path, work, ours.cascade, "--limit", "1", *alone)
    seconds, _ = common.run_job(path, work, ours.cascade, *alone)
    return {"rate": len(texts) / (seconds - start_up), "whole": len(texts) / seconds}


def loop(texts: list[str], ours, *, side_by_side: bool) -> dict:
    """Rows a second of a loop that tokenizes, scores and decodes."""
    tier = load_cascade(ours.cascade).tiers[0]
    model = load_tier(tier, Compute())

    def logits(tokens) -> np.ndarray:
        if side_by_side:
            return logits_of_tokens(model, tokens)
        outputs = np.zeros((len(tokens), len(model.labels)), np.float32)
        for rows in model.plan(tokens.lengths):
            outputs[rows] = model.forward(tokens, rows)
        return outputs

    def answer(some: list[str]) -> None:
        LabelDecoder()(logits(model.tokenize(pa.array(some))), model.labels)

    answer(texts[:1000])
    started = time.perf_counter()
    for at in range(0, len(texts), tier.batch_rows):
        answer(texts[at : at + tier.batch_rows])
    return {"rate": len(texts) / (time.perf_counter() - started)}


def tokenizer(texts: list[str], ours, *, side_by_side: bool) -> dict:
    """Rows a second of tokenizing alone, from Arrow columns."""
    tier = load_cascade(ours.cascade).tiers[0]
    model = load_tier(tier, Compute())
    column = pa.array(texts)
    parts = [column.slice(at, tier.batch_rows) for at in range(0, len(texts), tier.batch_rows)]
    with ThreadPoolExecutor(thread_pool.workers() if side_by_side else 1) as pool:
        model.tokenize(column[:1000])
        started = time.perf_counter()
        for _ in pool.map(model.tokenize, parts):
            pass
    return {"rate": len(texts) / (time.perf_counter() - started)}


def plain(texts: list[str], ours) -> dict:
    """Rows a second of the `tokenizers` library alone."""
    tier = load_cascade(ours.cascade).tiers[0]
    backend = load_tier(tier, Compute()).tokenizer.plain()
    started = time.perf_counter()
    for at in range(0, len(texts), tier.batch_rows):
        backend.encode_batch_fast(texts[at : at + tier.batch_rows])
    return {"rate": len(texts) / (time.perf_counter() - started)}


def tier(texts: list[str], ours) -> dict:
    """Rows a second of the first tier on tokens that are there already."""
    tier = load_cascade(ours.cascade).tiers[0]
    model = load_tier(tier, Compute())
    column = pa.array(texts)
    parts = [column.slice(at, tier.batch_rows) for at in range(0, len(texts), tier.batch_rows)]
    seconds = 0.0
    for part in [parts[0], *parts]:
        tokens = model.tokenize(part)
        started = time.perf_counter()
        logits_of_tokens(model, tokens)
        seconds += time.perf_counter() - started
    return {"rate": (len(texts) + len(parts[0])) / seconds}


WAYS = {
    "job": job,
    "loop": lambda texts, ours: loop(texts, ours, side_by_side=False),
    "loop_side_by_side": lambda texts, ours: loop(texts, ours, side_by_side=True),
    "tokenizer": lambda texts, ours: tokenizer(texts, ours, side_by_side=False),
    "tokenizer_side_by_side": lambda texts, ours: tokenizer(texts, ours, side_by_side=True),
    "tokenizers_library": plain,
    "tier": tier,
}


def main() -> None:
    parser = common.arguments("Rows a second of the job at threshold 0 over a bare loop's.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpus", choices=unseen_texts.CORPORA, default="sst2")
    parser.add_argument("--only", choices=tuple(WAYS), help="measure one, print JSON")
    ours = parser.parse_args()
    common.quiet()
    if ours.only:
        print(json.dumps(WAYS[ours.only](texts_of(ours), ours)))
        return
    over_loop, over_tokenizer = [], []
    for number in range(ours.rounds):
        seen = {way: common.apart(__spec__.name, **{**vars(ours), "only": way}) for way in WAYS}
        job = seen["job"]["rate"]
        over_loop.append(job / fastest(seen, "loop"))
        over_tokenizer.append(job / fastest(seen, "tokenizer"))
        shown = ", ".join(f"{way} {values['rate']:,.0f}/s" for way, values in seen.items())
        print(
            f"round {number + 1}: {shown}; job with start-up {seen['job']['whole']:,.0f}/s",
            flush=True,
        )
    print(f"job / bare loop = {common.middle(over_loop):.3f} (bar: at least {BAR})")
    shown = f"job / tokenizing alone = {common.middle(over_tokenizer):.3f}"
    print(f"{shown} (bar of a static first tier: at least {STATIC_BAR})")


def fastest(seen: dict, way: str) -> float:
    """Rows a second of the faster of two ways."""
    return max(seen[way]["rate"], seen[f"{way}_side_by_side"]["rate"])


if __name__ == "__main__":
    main()
