"""Augmented texts for distillation: the teacher labels them, so they need no labels.

After Tang et al., "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks"
(2019), section 3.3, whom the TangoBERT paper follows. Each kind is a function of words and a random
generator; `KINDS` names them for the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tango_beam.training.distill_options import AUGMENTATIONS

Words = list[str]
MASKED_SHARE = 0.15


def _any(rows: Sequence[Words], rng: np.random.Generator) -> Words:
    return rows[int(rng.integers(len(rows)))]


def mask(rows: Sequence[Words], rng: np.random.Generator) -> Words:
    """One row with 15 % of its words swapped for words of other rows."""
    words = list(_any(rows, rng))
    for place in np.flatnonzero(rng.random(len(words)) < MASKED_SHARE):
        other = _any(rows, rng)
        words[place] = other[int(rng.integers(len(other)))]
    return words


def ngram(rows: Sequence[Words], rng: np.random.Generator) -> Words:
    """A run of words out of one row."""
    words = _any(rows, rng)
    start = int(rng.integers(len(words)))
    stop = int(rng.integers(start, len(words))) + 1
    return words[start:stop]


def join(rows: Sequence[Words], rng: np.random.Generator) -> Words:
    """Two rows, one behind the other."""
    first, second = _any(rows, rng), _any(rows, rng)
    return [*first, *second]


KINDS: Mapping[str, Callable[[Sequence[Words], np.random.Generator], Words]] = {
    name: kind for name, kind in zip(AUGMENTATIONS, (mask, ngram, join), strict=True)
}


def augment(texts: Sequence[str], kinds: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` new texts, an equal share of each kind.

    Raises:
      ValueError: a kind that is not in `KINDS`.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"expected augmentations out of {list(KINDS)}, found {unknown}")
    rng = np.random.default_rng(seed)
    rows = [words for words in (text.split() for text in texts) if words]
    if not kinds or not rows:
        return []
    made = [KINDS[kinds[index % len(kinds)]](rows, rng) for index in range(count)]
    return [" ".join(words) for words in made]
