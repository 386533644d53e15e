"""Exact bounds on a share from a sample: binomial, and hypergeometric for a small corpus.

A sample of n rows with k errors. The binomial bounds are Clopper and Pearson's (1934); they hold
for rows drawn independently, and err to the safe side for rows drawn without replacement. Where the
sample is a large part of the corpus the hypergeometric test proves more, because the rows that were
seen are no longer in doubt.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from tango_beam.arrays import Float64

# From this share on the size of the corpus matters; below it the two tests agree to a row.
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
        # The fewest errors in the corpus that the test rejects; one less is still possible.
        low, high = errors, corpus - (rows - errors) + 1
        while high - low > 1:
            middle = (low + high) // 2
            rejected = _hypergeometric(errors, corpus, middle, rows) <= delta
            low, high = (low, middle) if rejected else (middle, high)
        return low / corpus
    return float(special.betaincinv(errors + 1, rows - errors, 1 - delta))


def lower(errors: int, rows: int, delta: float) -> float:
    """Lower bound on the share of errors that holds with probability 1 - delta; 0 without rows."""
    _check(errors, rows, delta)
    if errors == 0:
        return 0.0
    return float(special.betaincinv(errors, rows - errors + 1, delta))


def interval(errors: int, rows: int, delta: float) -> tuple[float, float]:
    """Two-sided interval for the share of errors; each end may fail with delta / 2."""
    return lower(errors, rows, delta / 2), upper(errors, rows, delta / 2)


def p_values(
    errors: npt.ArrayLike, rows: npt.ArrayLike, share: float, corpus: int | None = None
) -> Float64:
    """Probability of at most these errors in a sample, if the share of errors is just over `share`.

    Args:
      errors: counts, any shape.
      rows: in the sample; one number, or as many as there are counts.
      share: of errors that the goal allows.
      corpus: rows in the corpus that the sample was drawn from without replacement; None, or a
        corpus of which the sample is a small part, gives the binomial test.
    """
    counts = np.asarray(errors)
    if corpus is None or not is_large_part(int(np.max(rows)), corpus):
        return _binomial(counts, np.asarray(rows), share)
    # The fewest errors in the corpus that break the goal.
    broken = min(corpus, math.floor(share * corpus + 1e-9) + 1)
    return _hypergeometric(counts, corpus, broken, int(np.max(rows)))


def _binomial(errors: npt.NDArray, rows: npt.NDArray, share: float) -> Float64:
    """Probability of at most `errors` errors among rows that err with probability `share`."""
    below = np.minimum(errors, rows - 1)
    # Not `binom.cdf`, since `scipy.stats` takes a second to import. At 200,000 rows this is within
    # 3e-12 of it, relative; `special.bdtr`, within 7e-10.
    tail = special.betaincc(below + 1, rows - below, share)
    return np.where(errors >= rows, 1.0, tail)


def _hypergeometric(errors: npt.ArrayLike, corpus: int, wrong: int, rows: int) -> Float64:
    """Probability of at most `errors` errors in rows drawn from a corpus with `wrong` of them."""
    from scipy.stats import hypergeom  # takes a second to import, and few calls need it

    return np.asarray(hypergeom.cdf(errors, corpus, wrong, rows), np.float64)


def most_errors(rows: int, share: float, delta: float, corpus: int | None = None) -> int:
    """The most errors in the sample at which the corpus has at most `share` of them.

    It is wrong with probability delta at most: the exact test of "more than `share` of errors"
    rejects at this count and no longer at the next.

    Returns:
      The count; -1 if the test does not even reject for a sample without an error.
    """
    _check(0, rows, delta)
    if corpus is not None and rows >= corpus:
        return math.floor(share * corpus + 1e-9)
    # Past rows x share the test cannot reject.
    tried = p_values(np.arange(int(rows * share) + 2), rows, share, corpus)
    return int(np.searchsorted(tried, delta, side="right")) - 1


def most_false(right: int, share: float, delta: float) -> int:
    """The most false calls beside `right` right ones at which at most `share` of calls is false.

    Of calls of which more than that are false, the probability of at most these false ones grows
    with each that is added. So the first count that the exact test lets pass no longer is the last.

    Returns:
      The count; -1 if the test does not even reject without a false call.
    """
    _check(0, right, delta)
    tried = np.arange(int(right * share / (1 - share)) + 2)
    return int(np.searchsorted(p_values(tried, right + tried, share), delta, side="right")) - 1


def fewest_rows(goal: float, delta: float) -> int:
    """Fewest rows that can prove a goal: without one error, goal^rows must be at most delta."""
    return math.ceil(math.log(delta) / math.log(goal))


def rows_that_allow(errors: int, share: float, delta: float) -> int:
    """Fewest rows of which so many may be errors while the test proves at most `share` of them."""
    low, high = errors, max(errors + 1, math.ceil(errors / share))
    while most_errors(high, share, delta) < errors:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if most_errors(middle, share, delta) >= errors else (middle, high)
    return high


def is_large_part(rows: int, corpus: int | None) -> bool:
    """Whether the corpus is so small that the hypergeometric test proves more."""
    return corpus is not None and rows >= LARGE_PART * corpus


def _check(errors: int, rows: int, delta: float) -> None:
    if not 0 <= errors <= max(rows, 0):
        raise ValueError(f"expected 0 to {rows} errors in {rows} rows, found {errors}")
    if not 0 < delta < 1:
        raise ValueError(f"expected a delta between 0 and 1, found {delta}")
