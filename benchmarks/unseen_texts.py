"""Texts that no tier was trained on, with the lengths of two corpora.

    python -m benchmarks.unseen_texts --data DATA --output DIR

SST-2's are the dev rows and held-out sentences, again and again. Of IMDB only the train split is
at hand, and the embedded cascade was distilled on its sentences: so only the reviews' lengths are
taken, and filled with the sentences above.

The command parts IMDB's reviews into those to train a sentiment cascade on, `train.parquet`, and
those whose sentences are kept from every tier, `kept.parquet`; `sentences.parquet` has these.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tango_beam.io.labelled import LabelledTexts, read_labelled
from tango_beam.training import holdout, texts
from tests.benchmark_arithmetic import composed, words

CORPORA = ("sst2", "imdb")
HELD_OUT, HELD_OUT_SEED = 1500, 0
KEPT_SENTENCES = 20_000


def labelled_dev(data: str) -> LabelledTexts:
    """SST-2's dev rows."""
    return read_labelled([f"{data}/sst2/dev.parquet"], ["text"], "label")


def labelled_held_out(data: str) -> LabelledTexts:
    """SST-2's sentences that no tier was trained on."""
    train = read_labelled([f"{data}/sst2/train.parquet"], ["text"], "label")
    split = holdout.hold_out(train.texts.to_pylist(), HELD_OUT, HELD_OUT_SEED)
    return train.take(split.held_out)


def dev(data: str) -> list[str]:
    """The texts of SST-2's dev rows."""
    return labelled_dev(data).texts.to_pylist()


def dev_and_held_out(data: str) -> list[str]:
    """SST-2's dev rows and the sentences that no tier was trained on."""
    return dev(data) + labelled_held_out(data).texts.to_pylist()


def repeated(texts: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """`count` texts: the given ones again and again, in random order."""
    rng = np.random.default_rng(seed)
    return [texts[index] for index in rng.permutation(np.arange(count) % len(texts))]


def of(corpus: str, data: str, count: int, seed: int = 0) -> list[str]:
    """`count` texts with a corpus's lengths, none of which a tier was trained on."""
    sentences = dev_and_held_out(data)
    if corpus == "sst2":
        return repeated(sentences, count, seed)
    lengths = [words(review) for review in repeated(reviews(data), count, seed)]
    return composed(sentences, lengths, seed)


def reviews(data: str) -> list[str]:
    """IMDB's own texts. Tiers were trained on them: for lengths, and models with random weights."""
    return pq.read_table(f"{data}/imdb/train.parquet", columns=["text"])["text"].to_pylist()


def part_reviews(
    data: str, count: int = KEPT_SENTENCES, seed: int = 0
) -> tuple[pa.Table, pa.Table]:
    """IMDB's reviews to train on, and whole reviews with `count` sentences of their own or more.

    A sentence that stands in a review of either part is not counted.
    """
    table = pq.read_table(f"{data}/imdb/train.parquet")
    order = np.random.default_rng(seed).permutation(len(table))
    cut = [list(texts.sentences([text], 3, 40)) for text in table["text"].to_pylist()]
    places = dict[str, int]()  # of the last review that has the sentence, in the drawn order
    for place, review in enumerate(order):
        places.update(dict.fromkeys(cut[review], place))
    own = np.bincount(list(places.values()), minlength=len(table))
    taken = int(np.searchsorted(np.cumsum(own), count)) + 1
    return table.take(np.sort(order[taken:])), table.take(np.sort(order[:taken]))


def kept_sentences(folder: str, count: int = KEPT_SENTENCES) -> list[str]:
    """The first `count` sentences of the kept reviews that stand in no other review."""
    seen = set(texts.read_sentences(f"{folder}/train.parquet"))
    kept = [one for one in texts.read_sentences(f"{folder}/kept.parquet") if one not in seen]
    return kept[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description="Parts IMDB's reviews: to train on, and kept.")
    parser.add_argument("--data", required=True, help="folder with imdb/train.parquet")
    parser.add_argument("--output", required=True, help="folder for train and kept.parquet")
    ours = parser.parse_args()
    folder = Path(ours.output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in zip(("train", "kept"), part_reviews(ours.data), strict=True):
        pq.write_table(part, folder / f"{name}.parquet", compression="zstd")
        print(f"{name}: {len(part):,} reviews")
    kept = kept_sentences(ours.output)
    pq.write_table(pa.table({"text": kept}), folder / "sentences.parquet", compression="zstd")
    print(f"kept sentences: {len(kept):,}")


if __name__ == "__main__":
    main()
