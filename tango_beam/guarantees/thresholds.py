"""Thresholds read off rows that both tiers have answered. Pure NumPy."""

from __future__ import annotations

import numpy as np

from tango_beam.arrays import Bool, Float32
from tango_beam.routing import BELOW_ONE


def lowest_threshold(confidences: Float32, errs: Bool, allowed: int) -> float:
    """The lowest threshold that accepts at most `allowed` rows that err.

    Walks the confidences down, whole groups of ties together, and stops before more errors are
    accepted than allowed. As the threshold falls, the number of rows that are accepted and wrong
    only grows. So where `allowed` comes from an exact test (`bounds.most_errors`), the promise of
    that test holds for this threshold with the whole of delta: the walk needs no correction.

    Args:
      confidences: float32, shape [rows].
      errs: rows that count as an error once they are accepted, shape [rows].
      allowed: accepted errors; negative: none may be accepted at all.

    Returns:
      One of the confidences (equal ones are accepted); 1 if each of them accepts too many errors.
    """
    if not len(confidences) or allowed < 0:
        return 1.0
    reachable = np.minimum(confidences, BELOW_ONE)
    order = np.argsort(-reachable, kind="stable")
    ordered, wrong = reachable[order], np.cumsum(errs[order])
    group_ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    fine = np.searchsorted(wrong[group_ends], allowed, side="right")
    return float(ordered[group_ends[fine - 1]]) if fine else 1.0


def highest_threshold(confidences: Float32, allowed: int) -> float:
    """The highest threshold that escalates at most `allowed` rows.

    Args:
      confidences: float32, shape [rows].
      allowed: rows that may be escalated; negative: none.

    Returns:
      One of the confidences, or 0 where even the lowest would escalate too many.
    """
    if allowed < 0 or not len(confidences):
        return 0.0
    ordered = np.sort(np.minimum(confidences, BELOW_ONE))
    # The number of rows below a value of the sample is the place where its group of ties begins.
    below = np.searchsorted(ordered, ordered, side="left")
    return float(ordered[np.searchsorted(below, allowed, side="right") - 1])


def threshold_for_agreement(confidences: Float32, agrees: Bool, goal: float) -> float:
    """The lowest threshold at which cascade and second tier agree on `goal` of these rows.

    It describes these rows, and promises nothing of others.

    Args:
      confidences: the first tier's, float32, shape [rows].
      agrees: whether both tiers give the same answer, shape [rows].
      goal: share of rows on which cascade and second tier must agree, 0 to 1.
    """
    allowed = int(np.floor((1 - goal) * len(confidences) + 1e-9))
    return lowest_threshold(confidences, ~agrees, allowed)
