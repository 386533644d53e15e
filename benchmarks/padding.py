"""Padded over real tokens, by the job's own count: `python -m benchmarks.padding --data ... --work ...`.

The manifest counts what goes to the models as padding of a row up to its micro-batch's longest.
Rows that fill a micro-batch of the first tier up to whole tiles are not in it; they are shown apart.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import common, untrained
from tango_beam.config import load_cascade
from tango_beam.tier import Compute, load_tier

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
    parser.add_argument("--corpus", choices=untrained.CORPORA, help="only this one")
    ours = parser.parse_args()
    common.quiet()
    work = Path(ours.work)
    for corpus in [ours.corpus] if ours.corpus else untrained.CORPORA:
        texts = untrained.of(corpus, ours.data, ours.rows if corpus == "sst2" else ours.long_rows)
        path = common.write_parquet(work / f"padding_{corpus}.parquet", texts)
        _, manifest = common.run_job(path, work, ours.cascade)
        found = {
            tier: count["padded"] / max(1, count["real"])
            for tier, count in manifest["tokens"].items()
        }
        rows = manifest["rows"]
        shown = ", ".join(f"{tier} {ratio:.4f}" for tier, ratio in found.items())
        print(
            f"{corpus}: {shown} (bar: at most {BAR}); {len(texts):,} rows, {rows['escalated']:,} "
            f"escalated; first tier with the rows that fill tiles {filled(texts, ours.cascade):.4f}",
            flush=True,
        )
        print(json.dumps({"corpus": corpus, **found}))


if __name__ == "__main__":
    main()
