"""Thresholds read off rows with both tiers' answers. Pure NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

# A threshold of 1 escalates every row, also one whose confidence rounds to 1: this is the highest
# that accepts any, and it cannot tell 1 from the number below.
BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


def lowest_threshold(confidences: FloatArray, errs: BoolArray, allowed: int) -> float:
    """The lowest threshold that accepts at most so many rows that err.

    Walks the confidences down, whole groups of ties together, and stops before the accepted errors
    exceed what is allowed. An error "accepted and wrong" only grows in number as the threshold
    falls, so where `allowed` comes from an exact test (`bounds.most_errors`) its promise holds for
    the threshold found, with the whole of delta and no correction for the walk.

    Args:
      confidences: float32, shape [rows].
      errs: rows that count as an error once they are accepted, shape [rows].
      allowed: accepted errors; negative: none may be accepted at all.

    Returns:
      A threshold that is one of the confidences (equal ones are accepted); 1 if none will do.
    """
    if not len(confidences) or allowed < 0:
        return 1.0
    reachable = np.minimum(confidences, BELOW_ONE)
    order = np.argsort(-reachable, kind="stable")
    ordered, wrong = reachable[order], np.cumsum(errs[order])
    group_ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    fine = np.searchsorted(wrong[group_ends], allowed, side="right")
    return float(ordered[group_ends[fine - 1]]) if fine else 1.0


def highest_threshold(confidences: FloatArray, allowed: int) -> float:
    """The highest threshold that escalates at most so many rows.

    Args:
      confidences: float32, shape [rows].
      allowed: rows that may be escalated; negative: none.

    Returns:
      One of the confidences, or 0 where even the lowest would escalate too many.
    """
    if allowed < 0 or not len(confidences):
        return 0.0
    ordered = np.sort(np.minimum(confidences, BELOW_ONE))
    # Rows below a value that is itself in the sample: where its group of ties begins.
    below = np.searchsorted(ordered, ordered, side="left")
    return float(ordered[np.searchsorted(below, allowed, side="right") - 1])


def threshold_for_agreement(confidences: FloatArray, agrees: BoolArray, goal: float) -> float:
    """The lowest threshold at which cascade and second tier agree on `goal` of these rows.

    It describes the rows that it was read off, and promises nothing of others.

    Args:
      confidences: the first tier's, float32, shape [rows].
      agrees: whether both tiers give the same answer, shape [rows].
      goal: share of rows on which cascade and second tier must agree, 0 to 1.
    """
    allowed = int(np.floor((1 - goal) * len(confidences) + 1e-9))
    return lowest_threshold(confidences, ~agrees, allowed)
