"""Labelled rows for choosing, kept clear of the rows for training.

In a data set of phrases (SST-2's train rows are nodes of parse trees) most rows lie inside another
row, so a random split leaks. Here whole sentences are set aside together with every row inside
them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError


@dataclass(frozen=True)
class Holdout:
    """Row numbers, int64, ascending. Rows that are in neither lie inside a held-out sentence.

    Attributes:
      train: rows to train on.
      held_out: whole sentences to choose seed, epochs and threshold on.
    """

    train: Int64
    held_out: Int64


Words = tuple[str, ...]


def _rows_inside(words: Words, rows: Collection[Words], lengths: Sequence[int]) -> set[Words]:
    """The rows that are runs of some words; only lengths that a row has are looked at."""
    count = len(words)
    return {
        words[start : start + length]
        for length in lengths
        for start in range(count - length + 1)
        if words[start : start + length] in rows
    }


def _lengths(rows: Collection[Words]) -> list[int]:
    return sorted({len(words) for words in rows})


def whole_sentences(texts: Sequence[str]) -> Int64:
    """Rows whose words are not a run of the words of any longer row; of equal rows, the first.

    Args:
      texts: split into words at white space.

    Returns:
      Row numbers, int64, ascending.
    """
    rows = [tuple(text.split()) for text in texts]
    first: dict[Words, int] = {}
    for index, words in enumerate(rows):
        first.setdefault(words, index)
    lengths = _lengths(first)
    inside: set[Words] = set()
    for words in sorted(first, key=len, reverse=True):
        if words not in inside:  # a row inside an inner row is inside the outer one too
            inside |= _rows_inside(words, first, lengths) - {words}
    return np.array([index for words, index in first.items() if words and words not in inside])


def hold_out(texts: Sequence[str], count: int, seed: int) -> Holdout:
    """Sets `count` whole sentences aside, and drops every other row inside one of them.

    Raises:
      RefusedError: fewer whole sentences than `count`.
    """
    if not count:
        return Holdout(np.arange(len(texts)), np.zeros(0, np.int64))
    whole = whole_sentences(texts)
    if count > len(whole):
        raise RefusedError(
            f"--held_out {count}: expected at least {count} whole sentences, found {len(whole)}"
        )
    held_out = np.sort(np.random.default_rng(seed).choice(whole, size=count, replace=False))
    rows = [tuple(text.split()) for text in texts]
    known = set(rows)
    lengths = _lengths(known)
    inside: set[Words] = set()
    for index in held_out:
        inside |= _rows_inside(rows[index], known, lengths)
    keep = [index for index, words in enumerate(rows) if words not in inside]
    return Holdout(train=np.array(keep, np.int64), held_out=held_out.astype(np.int64))
