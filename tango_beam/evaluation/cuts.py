"""Cuts of several labels, chosen on labelled rows. Pure NumPy.

A label's cut is the probability from which on it is given. 0.5 is right for whoever wants the
likelier of yes and no; the F1 of a rare label is higher where it is given more readily.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tango_beam.arrays import Bool, Float32

# As many as one types behind --cuts.
_DECIMALS = 6


def best_cuts(chances: Float32, truth: Bool, present: Sequence[float]) -> tuple[float, ...]:
    """For each label the cut of the highest F1 on some rows.

    Args:
      chances: a model's probabilities, shape [rows, labels].
      truth: which labels each row bears, shape [rows, labels].
      present: the cuts so far; one stays where none is better, or where no row bears the label.
    """
    columns = zip(chances.T, truth.T, present, strict=True)
    return tuple(best_cut(one, borne, cut) for one, borne, cut in columns)


def best_cut(chances: Float32, truth: Bool, present: float) -> float:
    """The cut of the highest F1 for one label, halfway between two rows' probabilities.

    Args:
      chances: shape [rows].
      truth: shape [rows].
      present: the cut so far; of several that are as good, the one nearest to it is taken.
    """
    order = np.argsort(-chances, kind="stable")
    falling, borne = chances[order].astype(np.float64), truth[order]
    given = np.arange(1, len(falling) + 1)
    scores = 2 * np.cumsum(borne) / (given + borne.sum())
    below = np.append(falling[1:], 0.0)
    # A cut cannot part equal probabilities.
    scores[falling == below] = 0
    now = 2 * truth[chances >= present].sum() / max(1, (chances >= present).sum() + truth.sum())
    if scores.max(initial=0) <= now:
        return present
    middles = np.clip((falling + below) / 2, 10.0**-_DECIMALS, 1 - 10.0**-_DECIMALS)
    best = np.flatnonzero(scores == scores.max())
    return round(float(middles[best[np.abs(middles[best] - present).argmin()]]), _DECIMALS)
