"""Parts a labelled file in two at random: a half to train on, a half to choose and sign on.

    python -m benchmarks.halves --input DATA/imdb/train.parquet --output DIR

Rows of one text go to the same half.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq


def main() -> None:
    parser = argparse.ArgumentParser(description="Parts a labelled file in two at random.")
    parser.add_argument("--input", required=True, help="a Parquet file")
    parser.add_argument("--output", required=True, help="folder for train and sign.parquet")
    parser.add_argument("--text_column", default="text")
    parser.add_argument("--seed", type=int, default=0)
    ours = parser.parse_args()
    table = pq.read_table(ours.input)
    text = pc.dictionary_encode(table[ours.text_column].combine_chunks()).indices.to_numpy()
    drawn = np.random.default_rng(ours.seed).permutation(int(text.max()) + 1)[text]
    first = drawn < (drawn.max() + 1) / 2
    folder = Path(ours.output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", first), ("sign", ~first)):
        pq.write_table(table.take(np.flatnonzero(rows)), folder / f"{name}.parquet")
        print(f"{name}: {int(rows.sum()):,} rows")


if __name__ == "__main__":
    main()
