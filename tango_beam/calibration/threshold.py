"""Thresholds read off rows with both tiers' answers. Pure NumPy; no promise beyond those rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def threshold_for_agreement(
    confidences: npt.NDArray[np.float32], agrees: npt.NDArray[np.bool_], goal: float
) -> float:
    """The lowest threshold at which the cascade agrees with the second tier on `goal` of the rows.

    Walks the confidences down, whole groups of ties together, and stops before the accepted
    disagreements exceed what the goal leaves.

    Args:
      confidences: the first tier's, float32, shape [rows].
      agrees: whether both tiers give the same answer, shape [rows].
      goal: share of rows on which cascade and second tier must agree, 0 to 1.

    Returns:
      A threshold that is one of the confidences (equal ones are accepted); 1 if none will do.
    """
    if not len(confidences):
        return 1.0
    order = np.argsort(-confidences, kind="stable")
    ordered, wrong = confidences[order], np.cumsum(~agrees[order])
    allowed = int(np.floor((1 - goal) * len(confidences) + 1e-9))
    group_ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    fine = group_ends[wrong[group_ends] <= allowed]
    return float(ordered[fine[-1]]) if len(fine) else 1.0
