"""A measure of a chain at every point of a grid of its thresholds. Pure NumPy.

A row that goes on to the next tier pays that tier's cost, and swaps one tier's error for the next
one's. So cost and errors alike are sums of steps, each over the rows that take it:

    all rows:                          the first tier's
    rows with bin 1 <= i:              + the second tier's (for errors: less the first tier's)
    ... and with bin 2 <= j:           + the third tier's  (for errors: less the second tier's)

The bin of a row says which thresholds of a grid it falls under. The rows that take a step, for all
points (i, j, ...) of the grid at once, are a histogram of bins that is summed up along its axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tango_beam.arrays import Float32, Float64, Int64
from tango_beam.routing import BELOW_ONE

# Sums of fractions are right to this, relative to what they are held against.
ROUNDING = 1e-9


def swaps(each: Sequence[Float64]) -> list[Float64]:
    """Steps of a measure that the answering tier decides alone, such as errors.

    Args:
      each: what a row counts where each tier answers it, shape [rows] each.
    """
    return [each[0], *(later - earlier for earlier, later in pairwise(each))]


def table(steps: Sequence[Float64], bins: Sequence[Int64], shape: tuple[int, ...]) -> Float64:
    """Total of a measure at every point of a grid of thresholds.

    Args:
      steps: what a row adds where it reaches each tier, shape [rows] each.
      bins: of every tier but the last, how many of its thresholds a row is not under, shape [rows].
      shape: thresholds of every tier but the last.

    Returns:
      float64, of that shape.
    """
    total: Float64 = np.full((1,) * len(shape), steps[0].sum())
    for depth in range(1, len(shape) + 1):
        sides = shape[:depth]
        place = np.ravel_multi_index(tuple(bins[:depth]), sides)
        cells = np.bincount(place, steps[depth], math.prod(sides)).reshape(sides)
        for axis in range(depth):
            np.cumsum(cells, axis=axis, out=cells)
        total = total + cells.reshape(sides + (1,) * (len(shape) - depth))
    return total


class Choice(NamedTuple):
    """Which point of a grid is wanted.

    Attributes:
      least: number of the measure that is to be least.
      then: number of the measure that decides among equals.
      limits: the most that each measure may come to; infinity where it is free.
    """

    least: int
    then: int
    limits: tuple[float, ...]


def best_point(tables: Sequence[Float64], choice: Choice) -> tuple[int, ...] | None:
    """The point of a grid that a choice asks for; None where none keeps the limits."""
    aim = tables[choice.least]
    fine = np.ones(aim.shape, bool)
    for measure, limit in zip(tables, choice.limits, strict=True):
        if limit < math.inf:
            fine &= measure <= limit + ROUNDING * max(1.0, abs(limit))
    least = aim.min(where=fine, initial=math.inf)
    if least == math.inf:
        return None
    near = np.flatnonzero(fine & (aim <= least + ROUNDING * abs(least)))
    chosen = near[tables[choice.then].ravel()[near].argmin()]
    return tuple(map(int, np.unravel_index(chosen, aim.shape)))


def bins_of(confidences: Float32, thresholds: Float32) -> Int64:
    """How many thresholds of a grid each row is not under, int64, shape [rows].

    Args:
      confidences: shape [rows].
      thresholds: ascending, the last of them 1, which every row is under.
    """
    return np.searchsorted(thresholds, np.minimum(confidences, BELOW_ONE), side="right")


def quantile_grid(confidences: Float32, points: int, gap: int) -> Float32:
    """Thresholds to try: quantiles of confidences, ascending, and 1, which accepts no row.

    Args:
      confidences: of rows that reach the tier, shape [rows].
      points: the most quantiles.
      gap: the fewest rows between two of them.
    """
    if not len(confidences):
        return np.ones(1, np.float32)
    ordered = np.sort(np.minimum(confidences, BELOW_ONE))
    count = 1 + min(points - 1, (len(ordered) - 1) // gap)
    ranks = np.linspace(0, len(ordered) - 1, count).astype(np.int64)
    return np.unique(np.append(ordered[ranks], np.float32(1)))


def near(confidences: Float32, threshold: np.float32, part: float) -> Float32:
    """Confidences around a threshold: the share `part` of them on each side of it, by rank."""
    ordered = np.sort(confidences)
    place, width = int(np.searchsorted(ordered, threshold)), int(part * len(ordered))
    return ordered[max(0, place - width) : place + width + 1]
