"""A test of a mean by betting, and a sequence of tests that needs no correction. Pure NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tango_beam.arrays import Float64


def rejects_negative_mean(values: Float64, delta: float, worst: float) -> bool:
    """Whether the mean of values is at least 0, with error probability delta at most.

    A gambler bets on each value in turn and has the capital prod(1 + lambda_i Z_i). While the mean
    is below 0, the capital is not expected to grow, so it reaches 1 / delta with probability delta
    at most (Ville). A stake depends on earlier rows only (Waudby-Smith and Ramdas, 2024, section
    4.3): lambda_i = min(sqrt(2 ln(1 / delta) / (n v_(i-1))), 0.9 / worst).

    Args:
      values: shape [rows], each at least -worst, in an order that does not depend on them.
      delta: level of the test, 0 to 1.
      worst: how far below 0 a value can lie; a stake never risks more than 0.9 of the capital.
    """
    rows = len(values)
    if not rows:
        return False
    counts = np.arange(1, rows + 1)
    means = np.cumsum(values) / (counts + 1)
    # Before the first row the variance is taken to be 1/4, the largest of a value in 0..1.
    spread = 0.25 + np.cumsum((values - means) ** 2)
    variance = np.concatenate([[0.25], spread[:-1] / counts[1:]])
    stakes = np.minimum(np.sqrt(2 * np.log(1 / delta) / (rows * variance)), 0.9 / worst)
    capital = np.cumsum(np.log1p(stakes * values))
    return bool(capital.max() >= np.log(1 / delta))


def retained(cascade: Float64, last: Float64, rho: float) -> Float64:
    """Z = cascade - rho last, for what each is worth in a row (1 where it is right), shape [rows].

    Its mean is at least 0 exactly where the cascade keeps the share rho of the last tier's mean.
    """
    return cascade - rho * last


def last_passed(count: int, passes: Callable[[int], bool]) -> int:
    """Tests hypotheses in a fixed order until one fails; returns the last that passed, or -1.

    Each is tested at the whole level. That is enough because the sequence ends at the first
    failure (Learn-then-Test, Angelopoulos et al., 2021, section 3.2, fixed sequence testing).
    """
    for index in range(count):
        if not passes(index):
            return index - 1
    return count - 1
