"""Accuracy, F1 and Matthews correlation, for one routing or along a curve. Pure NumPy.

Every metric here is a function of three counts a label: right answers, answers, and rows that bear
it. Those counts add up row by row, so a whole curve costs one running sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tango_beam.arrays import Float64, Int64

NAMES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "macro_f1": "macro F1",
    "mcc": "Matthews correlation",
}
METRICS = tuple(NAMES)


@dataclass(frozen=True)
class Tallies:
    """Counts from which every metric follows; the leading axes are those of a curve, if any.

    The counts may be fractions: those expected of a random routing.

    Attributes:
      hits: rows of each label that are answered with it, shape [..., labels].
      answered: rows that are answered with each label, shape [..., labels].
      actual: rows that bear each label, shape [labels].
    """

    hits: npt.NDArray
    answered: npt.NDArray
    actual: npt.NDArray


def tally(targets: Int64, answers: Int64, labels: int) -> Tallies:
    """Counts for one set of answers.

    Args:
      targets: index of the right label, int64, shape [rows].
      answers: index of the answered label, int64, shape [rows].
      labels: how many labels there are.

    Raises:
      ValueError: not as many answers as targets.
    """
    if targets.shape != answers.shape:
        raise ValueError(f"expected {len(targets)} answers, found {len(answers)}")
    return Tallies(
        hits=np.bincount(targets[targets == answers], minlength=labels),
        answered=np.bincount(answers, minlength=labels),
        actual=np.bincount(targets, minlength=labels),
    )


def accuracy(tallies: Tallies) -> Float64:
    """Share of rows answered right, float64, shape [...]; 0 where there are no rows."""
    return _ratio(tallies.hits.sum(axis=-1), tallies.actual.sum())


def f1(tallies: Tallies, positive: int) -> Float64:
    """F1 of one label, float64, shape [...]: 2 hits / (answered + actual), 0 where that is 0/0."""
    return _f1_by_label(tallies)[..., positive]


def macro_f1(tallies: Tallies) -> Float64:
    """Mean F1 of the labels that some row bears or is answered with, float64, shape [...]."""
    occurs = tallies.answered + tallies.actual > 0
    return _ratio(_f1_by_label(tallies).sum(axis=-1), occurs.sum(axis=-1))


def mcc(tallies: Tallies) -> Float64:
    """Matthews correlation, float64, shape [...], -1 to 1; 0 where either side is constant.

    For any number of labels, after Gorodkin (2004), "Comparing two K-category assignments by a
    K-category correlation coefficient"; for two it is Matthews' own (1975).
    """
    rows = float(tallies.actual.sum())
    answered, actual = tallies.answered.astype(float), tallies.actual.astype(float)
    covariance = tallies.hits.sum(axis=-1) * rows - answered @ actual
    spread = (rows**2 - (answered**2).sum(axis=-1)) * (rows**2 - (actual**2).sum())
    return _ratio(covariance, np.sqrt(np.maximum(spread, 0)))


@dataclass(frozen=True)
class Metric:
    """One of `METRICS`, ready to be applied.

    Attributes:
      name: which.
      positive: index of the label that F1 is of; the others do without.
    """

    name: str
    positive: int | None = None

    def __post_init__(self) -> None:
        if self.name not in METRICS:
            raise ValueError(f"expected a metric of {', '.join(METRICS)}, found {self.name!r}")
        if self.name == "f1" and self.positive is None:
            raise ValueError("expected the label that F1 is of, found none")

    def __call__(self, tallies: Tallies) -> Float64:
        """The metric of counts, float64, shape [...]."""
        if self.name == "f1":
            assert self.positive is not None
            return f1(tallies, self.positive)
        return {"accuracy": accuracy, "macro_f1": macro_f1, "mcc": mcc}[self.name](tallies)


def _f1_by_label(tallies: Tallies) -> Float64:
    return _ratio(2 * tallies.hits, tallies.answered + tallies.actual)


def _ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Float64:
    """A quotient, float64; 0 where the divisor is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)
