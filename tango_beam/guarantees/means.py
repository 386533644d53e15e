"""Promises of a mean, tested by betting: accuracy and F1 of a cascade. Pure NumPy.

A mean can also rise as a threshold falls, since an accepted row can be right where the last tier is
wrong. So thresholds come from rows that only fit, and are tested from the safest down until one
fails; each test is a bet on the other rows in a seeded order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tango_beam.arrays import Float64
from tango_beam.guarantees import betting
from tango_beam.guarantees.certificate import Guarantee
from tango_beam.guarantees.guarantees import Path, lowest_on_path
from tango_beam.guarantees.tier_answers import TierAnswers


def accuracy_retained(
    fit: TierAnswers, test: TierAnswers, rho: float, delta: float, seed: int, path: Path = ()
) -> Guarantee:
    """The lowest thresholds at which the share rho of the last tier's accuracy is kept.

    Args:
      fit: rows for the path, none of them in `test`.
      test: labelled rows.
      rho: share of the last tier's accuracy that the cascade keeps, 0 to 1.
      delta: level.
      seed: of the order of the rows.
      path: to go along in place of that of `fit`, from the safest thresholds down.

    Raises:
      ValueError: no labels.
    """
    if test.truth is None:
        raise ValueError("expected labelled rows, found none")
    right = [(answer == test.truth).astype(np.float64) for answer in test.answers]
    return _kept("accuracy_retained", fit, test, right, rho, delta, seed, path)


def f1_retained(
    fit: TierAnswers, test: TierAnswers, f1: Sequence[Float64], rho: float, delta: float, seed: int
) -> Guarantee:
    """The lowest thresholds at which the share rho of the last tier's mean F1 is kept.

    Args:
      fit: rows for the path, none of them in `test`.
      test: rows that test.
      f1: of every tier's answers to `test` against the right ones, 0 to 1, shape [rows] each.
      rho: share of the last tier's mean F1 that the cascade keeps, 0 to 1.
      delta: level.
      seed: of the order of the rows.
    """
    return _kept("f1_retained", fit, test, f1, rho, delta, seed)


def f1_agreement(
    fit: TierAnswers, test: TierAnswers, f1: Sequence[Float64], goal: float, delta: float, seed: int
) -> Guarantee:
    """The lowest thresholds at which the mean F1 against the last tier's answers is the goal.

    Args:
      fit: rows for the path, none of them in `test`.
      test: rows that test.
      f1: of the answers of every tier but the last to `test` against the last tier's, 0 to 1,
        shape [rows] each.
      goal: mean F1, 0 to 1.
      delta: level.
      seed: of the order of the rows.
    """
    perfect = np.ones(len(test))
    # With every F1 of the last tier at 1, the share that is kept of it is the mean itself.
    return _kept("f1_agreement", fit, test, [*f1, perfect], goal, delta, seed)


def _kept(
    goal: str,
    fit: TierAnswers,
    test: TierAnswers,
    values: Sequence[Float64],
    rho: float,
    delta: float,
    seed: int,
    path: Path = (),
) -> Guarantee:
    """The lowest thresholds that keep the share rho of the mean of the last tier's values."""
    order = np.random.default_rng(seed).permutation(len(test))
    each, rows = np.stack(values), np.arange(len(test))

    def cascaded(point: tuple[float, ...]) -> Float64:
        return each[test.cascaded(point)[1] - 1, rows]

    def passes(point: tuple[float, ...]) -> bool:
        change = betting.retained(cascaded(point), each[-1], rho)
        return betting.rejects_negative_mean(change[order], delta, rho)

    thresholds = lowest_on_path(fit, passes, path)
    return Guarantee(
        goal=goal,
        value=rho,
        delta=delta,
        thresholds=thresholds,
        rows=len(test),
        errors=int((cascaded(thresholds) < each[-1]).sum()),
        bound=None,
        met=test.accepts_any(thresholds),
        method="betting, fixed sequence",
    )
