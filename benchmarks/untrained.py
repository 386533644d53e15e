"""Texts that no tier was trained on, with the lengths of two corpora.

SST-2's are the dev rows and held-out sentences, again and again. Of IMDB only the train split is
at hand, and the embedded cascade was distilled on its sentences: so only the reviews' lengths are
taken, and filled with the sentences above.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tango_beam.training import corpora, holdout

CORPORA = ("sst2", "imdb")
HELD_OUT, HELD_OUT_SEED = 1500, 0
_WORD = re.compile(r"\w+|[^\w\s]")


def dev(data: str) -> list[str]:
    """SST-2's dev rows."""
    return corpora.read_labelled(f"{data}/sst2/dev.parquet").texts


def dev_and_held_out(data: str) -> list[str]:
    """SST-2's dev rows and the sentences that no tier was trained on."""
    train = corpora.read_labelled(f"{data}/sst2/train.parquet")
    split = holdout.hold_out(train.texts, HELD_OUT, HELD_OUT_SEED)
    return dev(data) + train.take(split.held_out).texts


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


def words(text: str) -> int:
    """Words and marks of punctuation, as BERT's tokenizer parts them before it looks for pieces."""
    return len(_WORD.findall(text))


def composed(sentences: Sequence[str], lengths: Sequence[int], seed: int = 0) -> list[str]:
    """Texts of so many words each, of randomly drawn sentences; the last one is cut short.

    Args:
      sentences: parted at spaces as `words` parts them, or nearly so; none of them empty.
      lengths: words that each text shall have.
      seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    parted = [sentence.split() for sentence in sentences]
    made = []
    for length in lengths:
        text: list[str] = []
        while len(text) < length:
            text += parted[int(rng.integers(len(parted)))]
        made.append(" ".join(text[:length]))
    return made


def spread(lengths: Sequence[int], count: int) -> npt.NDArray[np.int64]:
    """`count` rows at even steps through the rows sorted by length: the same lengths, fewer rows.

    Args:
      lengths: of all rows.
      count: at most as many as there are.

    Returns:
      Row numbers, int64, ascending.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    steps = (np.arange(count) + 0.5) * len(order) / count
    return np.sort(order[steps.astype(np.int64)])
