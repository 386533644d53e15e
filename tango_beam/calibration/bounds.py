"""Exact bounds on a share from a sample: binomial, and hypergeometric for a small corpus.

A sample of n rows with k errors. The binomial bounds are Clopper and Pearson's (1934); they hold
for rows drawn independently, and err to the safe side for rows drawn without replacement. Where the
sample is a large part of the corpus the hypergeometric test says more: what was seen is no longer
in doubt.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

# A share past which the finite corpus is worth counting; under it the two tests agree to a row.
LARGE_PART = 0.02


def upper(errors: int, rows: int, delta: float, corpus: int | None = None) -> float:
    """Upper bound on the share of errors that holds with probability 1 - delta; 1 without rows.

    Args:
      errors: in the sample.
      rows: in the sample.
      delta: level.
      corpus: rows in the corpus that the sample was drawn from without replacement.
    """
    _check(errors, rows, delta)
    if errors >= rows:
        return 1.0
    if is_large_part(rows, corpus):
        assert corpus is not None
        # The fewest errors in the corpus that the test rejects; one less is what is left possible.
        low, high = errors, corpus - (rows - errors) + 1
        while high - low > 1:
            middle = (low + high) // 2
            rejected = stats.hypergeom.cdf(errors, corpus, middle, rows) <= delta
            low, high = (low, middle) if rejected else (middle, high)
        return low / corpus
    return float(stats.beta.ppf(1 - delta, errors + 1, rows - errors))


def lower(errors: int, rows: int, delta: float) -> float:
    """Lower bound on the share of errors that holds with probability 1 - delta; 0 without rows."""
    _check(errors, rows, delta)
    if errors == 0:
        return 0.0
    return float(stats.beta.ppf(delta, errors, rows - errors + 1))


def interval(errors: int, rows: int, delta: float) -> tuple[float, float]:
    """Two-sided interval for the share of errors; each end may fail with delta / 2."""
    return lower(errors, rows, delta / 2), upper(errors, rows, delta / 2)


def p_values(
    errors: npt.ArrayLike, rows: int, share: float, corpus: int | None = None
) -> npt.NDArray[np.float64]:
    """Probability of so few errors or fewer, were the share of errors just over `share`.

    Args:
      errors: counts, any shape.
      rows: in the sample.
      share: of errors that the goal allows.
      corpus: rows in the corpus that the sample was drawn from without replacement; None, or a
        corpus of which the sample is a small part, gives the binomial test.
    """
    counts = np.asarray(errors)
    if not is_large_part(rows, corpus):
        return np.asarray(stats.binom.cdf(counts, rows, share), np.float64)
    assert corpus is not None
    # The fewest errors in the corpus that break the goal.
    broken = min(corpus, math.floor(share * corpus + 1e-9) + 1)
    return np.asarray(stats.hypergeom.cdf(counts, corpus, broken, rows), np.float64)


def most_errors(rows: int, share: float, delta: float, corpus: int | None = None) -> int:
    """The most errors in the sample at which the corpus has at most `share` of them.

    It is wrong with probability delta at most: the exact test of "more than `share` of errors"
    rejects at this count and no longer at the next.

    Returns:
      The count; -1 if not even a sample without an error will do.
    """
    _check(0, rows, delta)
    if corpus is not None and rows >= corpus:
        return math.floor(share * corpus + 1e-9)
    # Past rows x share the test cannot reject.
    tried = p_values(np.arange(int(rows * share) + 2), rows, share, corpus)
    return int(np.searchsorted(tried, delta, side="right")) - 1


def fewest_rows(goal: float, delta: float) -> int:
    """Rows that a sample needs for any promise: without one error, goal^rows is at most delta."""
    return math.ceil(math.log(delta) / math.log(goal))


def is_large_part(rows: int, corpus: int | None) -> bool:
    """Whether the corpus is so small that the hypergeometric test is worth its while."""
    return corpus is not None and rows >= LARGE_PART * corpus


def _check(errors: int, rows: int, delta: float) -> None:
    if not 0 <= errors <= max(rows, 0):
        raise ValueError(f"expected 0 to {rows} errors in {rows} rows, found {errors}")
    if not 0 < delta < 1:
        raise ValueError(f"expected a delta between 0 and 1, found {delta}")
