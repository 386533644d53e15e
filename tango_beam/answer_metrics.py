"""How right answers are that are no single label: sets of labels, and scores. Pure NumPy, SciPy."""

from __future__ import annotations

import numpy as np
from scipy import stats

from tango_beam.arrays import Bool, Float32, Float64


def f1_by_label(found: Bool, truth: Bool) -> Float64:
    """F1 of each label, float64, shape [labels]; 0 for a label that no row bears or is given.

    Args:
      found: which labels each row is given, shape [rows, labels].
      truth: which it bears, shape [rows, labels].
    """
    hits, borne = (found & truth).sum(axis=0), found.sum(axis=0) + truth.sum(axis=0)
    return 2 * hits / np.maximum(borne, 1)


def of_sets(found: Bool, truth: Bool) -> dict[str, float]:
    """Micro F1, macro F1 and the share of exact sets, 0 to 1.

    The macro F1 is the mean over the labels that some row bears or is given. Where no row bears or
    is given any label, both F1 are 0.

    Args:
      found: which labels each row is given, shape [rows, labels].
      truth: which it bears, shape [rows, labels].
    """
    occurs = (found | truth).any(axis=0)
    return {
        "micro F1": float(f1_by_label(found.reshape(-1, 1), truth.reshape(-1, 1))[0]),
        "macro F1": float(f1_by_label(found, truth).sum() / max(1, occurs.sum())),
        "exact sets": float((found == truth).all(axis=1).mean()),
    }


def of_scores(found: Float32, truth: Float32) -> dict[str, float]:
    """Mean absolute error, and Spearman's rank correlation, -1 to 1: 0 where a side is constant.

    Args:
      found: shape [rows].
      truth: shape [rows].
    """
    constant = np.ptp(found) == 0 or np.ptp(truth) == 0
    return {
        "mean absolute error": float(np.abs(found.astype(np.float64) - truth).mean()),
        "Spearman": 0.0 if constant else float(stats.spearmanr(found, truth).statistic),
    }
