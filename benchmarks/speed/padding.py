"""Padded over real tokens, by the job's own count.

    python -m benchmarks.speed.padding --data DATA --work WORK

The manifest counts what goes to the models as padding of a row up to its micro-batch's longest.
Rows that fill a micro-batch of the first tier up to whole tiles are not in it; they are shown
apart.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import common, unseen_texts
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import Compute
from tango_beam.resolve import load_tier

BAR = 1.05


def filled(texts: list[str], cascade: str) -> float:
    """What the first tier computes over real tokens, rows that fill its tiles among them."""
    tier = load_cascade(cascade).tiers[0]
    model = load_tier(tier, Compute())
    tile = getattr(model, "_tile", 1)
    real = computed = 0
    for at in range(0, len(texts), tier.batch_rows):
        lengths = model.tokenize(pa.array(texts[at : at + tier.batch_rows])).lengths
        real += int(lengths.sum())
        computed += sum(
            -(-len(rows) // tile) * tile * int(np.max(lengths[rows]))
            for rows in model.plan(lengths)
        )
    return computed / real


def main() -> None:
    parser = common.arguments("Padded over real tokens in either tier, on either corpus.")
    parser.add_argument("--rows", type=int, default=60_000, help="of SST-2's lengths")
    parser.add_argument("--long_rows", type=int, default=8000, help="of IMDB's lengths")
    parser.add_argument("--corpus", choices=unseen_texts.CORPORA, help="only this one")
    ours = parser.parse_args()
    common.quiet()
    work = Path(ours.work)
    for corpus in [ours.corpus] if ours.corpus else unseen_texts.CORPORA:
        count = ours.rows if corpus == "sst2" else ours.long_rows
        texts = unseen_texts.of(corpus, ours.data, count)
        path = common.write_parquet(work / f"padding_{corpus}.parquet", texts)
        _, manifest = common.run_job(path, work, ours.cascade)
        ratios = common.padding(manifest)
        shown = ", ".join(f"{tier} {ratio:.4f}" for tier, ratio in ratios.items())
        print(
            f"{corpus}: {shown} (bar: at most {BAR}); {len(texts):,} rows, "
            f"{manifest['rows']['escalated']:,} escalated; first tier with the rows that fill "
            f"tiles {filled(texts, ours.cascade):.4f}",
            flush=True,
        )
        print(json.dumps({"corpus": corpus, **ratios}))


if __name__ == "__main__":
    main()
