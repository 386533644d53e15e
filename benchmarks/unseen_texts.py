"""Texts that no tier was trained on, with the lengths of two corpora.

SST-2's are the dev rows and held-out sentences, again and again. Of IMDB only the train split is
at hand, and the embedded cascade was distilled on its sentences: so only the reviews' lengths are
taken, and filled with the sentences above.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq

from tango_beam.io.labelled import LabelledTexts, read_labelled
from tango_beam.training import holdout
from tests.benchmark_arithmetic import composed, words

CORPORA = ("sst2", "imdb")
HELD_OUT, HELD_OUT_SEED = 1500, 0


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
