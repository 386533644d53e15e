"""A test of a mean by betting, and a sequence of tests that needs no correction. Pure NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def rejects_negative_mean(values: Floats, delta: float, worst: float) -> bool:
    """Whether the mean of values is at least 0, with error probability delta at most.

    The capital of a gambler who bets on each value in turn, prod(1 + lambda_i Z_i), cannot be
    expected to grow while the mean is below 0, so it reaches 1 / delta with probability delta at
    most (Ville). Stakes look at earlier rows only (Waudby-Smith and Ramdas, 2024, section 4.3):
    lambda_i = min(sqrt(2 ln(1 / delta) / (n v_(i-1))), 0.9 / worst).

    Args:
      values: shape [rows], each at least -worst, in an order that does not hang on them.
      delta: level of the test, 0 to 1.
      worst: how far below 0 a value can lie; the stakes never risk more than 0.9 of the capital.
    """
    rows = len(values)
    if not rows:
        return False
    counts = np.arange(1, rows + 1)
    means = np.cumsum(values) / (counts + 1)
    # Before the first row the variance is taken for 1/4, the most that a value in 0..1 can have.
    spread = 0.25 + np.cumsum((values - means) ** 2)
    variance = np.concatenate([[0.25], spread[:-1] / counts[1:]])
    stakes = np.minimum(np.sqrt(2 * np.log(1 / delta) / (rows * variance)), 0.9 / worst)
    capital = np.cumsum(np.log1p(stakes * values))
    return bool(capital.max() >= np.log(1 / delta))


def retained(
    cascade_right: npt.NDArray[np.bool_], last_right: npt.NDArray[np.bool_], rho: float
) -> Floats:
    """Z = 1{cascade right} - rho 1{last tier right}, shape [rows].

    Its mean is not negative exactly where the cascade keeps the share rho of the last tier's
    accuracy.
    """
    return cascade_right.astype(np.float64) - rho * last_right.astype(np.float64)


def last_passed(count: int, passes: Callable[[int], bool]) -> int:
    """Tests hypotheses in a fixed order until one fails; returns the last that passed, or -1.

    Each is tested at the whole level: the sequence ends at the first failure, so a true null
    hypothesis is reached and rejected with that probability at most (Learn-then-Test, Angelopoulos
    et al., 2021, section 3.2, fixed sequence testing).
    """
    for index in range(count):
        if not passes(index):
            return index - 1
    return count - 1
