"""Labelled rows for choosing, kept clear of the rows for training.

In a data set of phrases (SST-2's train rows are nodes of parse trees) most rows lie inside another
row, so a random split leaks: `hold_out` sets whole sentences aside together with every row inside
them. Rows that a column groups (questions on one context) leak as well: `hold_out_groups`. All
other rows are set aside at random: `hold_out_rows`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError


@dataclass(frozen=True)
class Holdout:
    """Row numbers, int64, ascending. Rows that are in neither lie inside a held-out row.

    Attributes:
      train: rows to train on.
      held_out: rows to choose seed, epochs and threshold on.
    """

    train: Int64
    held_out: Int64


Words = tuple[str, ...]

# Words that a row is looked up by before it is compared whole: few rows share so many first ones.
_HEAD = 4


class _Rows:
    """Rows of words, to be found inside longer ones.

    Args:
      rows: no two alike.
    """

    def __init__(self, rows: Collection[Words]) -> None:
        self._rows = rows
        lengths: dict[Words, set[int]] = {}
        for words in rows:
            lengths.setdefault(words[:_HEAD], set()).add(len(words))
        self._lengths = {head: sorted(found) for head, found in lengths.items()}

    def inside(self, words: Words) -> set[Words]:
        """The rows that are runs of some words."""
        return {
            words[start : start + length]
            for start in range(len(words))
            for head in range(_HEAD + 1)
            for length in self._lengths.get(words[start : start + head], ())
            if words[start : start + length] in self._rows
        }


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
    known = _Rows(first)
    inside: set[Words] = set()
    for words in sorted(first, key=len, reverse=True):
        if words not in inside:  # a row inside an inner row is inside the outer one too
            inside |= known.inside(words) - {words}
    return np.array([index for words, index in first.items() if words and words not in inside])


def hold_out(texts: Sequence[str], count: int, seed: int) -> Holdout:
    """Sets `count` whole sentences aside, and drops every other row inside one of them.

    Raises:
      RefusedError: fewer whole sentences than `count`.
    """
    if not count:
        return Holdout(np.arange(len(texts)), np.zeros(0, np.int64))
    whole = whole_sentences(texts)
    _refuse_too_many(count, len(whole), "whole sentences")
    held_out = np.sort(np.random.default_rng(seed).choice(whole, size=count, replace=False))
    rows = [tuple(text.split()) for text in texts]
    known = _Rows(set(rows))
    inside: set[Words] = set()
    for index in held_out:
        inside |= known.inside(rows[index])
    keep = [index for index, words in enumerate(rows) if words not in inside]
    return Holdout(train=np.array(keep, np.int64), held_out=held_out.astype(np.int64))


def hold_out_rows(texts: Sequence[str], count: int, seed: int) -> Holdout:
    """Sets `count` rows aside at random, and drops every other row of the same text.

    Raises:
      RefusedError: fewer rows than `count`.
    """
    if count > len(texts):
        raise RefusedError(
            f"--held_out {count}: expected at least {count} rows, found {len(texts)}"
        )
    held_out = np.sort(np.random.default_rng(seed).choice(len(texts), size=count, replace=False))
    known = {texts[row] for row in held_out}
    keep = [row for row, text in enumerate(texts) if text not in known]
    return Holdout(np.array(keep, np.int64), held_out.astype(np.int64))


def hold_out_groups(groups: Int64, count: int, seed: int) -> Holdout:
    """Sets whole groups of rows aside, drawn at random until they have `count` rows or more.

    Args:
      groups: number of each row's group, from 0 on, shape [rows].
      count: rows to set aside, at least.
      seed: the same groups for the same seed.

    Raises:
      RefusedError: fewer rows than `count`.
    """
    if count > len(groups):
        raise RefusedError(
            f"--held_out {count}: expected at least {count} rows, found {len(groups)}"
        )
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    needed = int(np.searchsorted(np.cumsum(sizes[order]), count))
    aside = np.isin(groups, order[: needed + 1]) if count else np.zeros(len(groups), bool)
    return Holdout(np.flatnonzero(~aside), np.flatnonzero(aside))


def _refuse_too_many(count: int, there: int, what: str) -> None:
    if count > there:
        raise RefusedError(f"--held_out {count}: expected at least {count} {what}, found {there}")
