"""Chains of tiers, what is wanted of them, and what they do. Pure NumPy.

The rows are choosing rows: every tier has answered them, and they sign for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from tango_beam import routing
from tango_beam.arrays import Bool, Float32, Float64
from tango_beam.guarantees import bounds
from tango_beam.guarantees.threshold_grids import ROUNDING

# By so many standard deviations of their number errors of fresh rows exceed those of the rows that
# thresholds were chosen on (benchmarks/statistics/chain_planning.py).
OPTIMISM = 1.0


@dataclass(frozen=True)
class Candidate:
    """A tier that a chain may have, and what it does on the choosing rows.

    Attributes:
      name: of the tier, unlike any other's.
      confidences: in its answers, float32, shape [rows], 0 to 1.
      right: rows on which its answer is the last tier's, shape [rows].
      cost: of a row that reaches it, in seconds or money: one for all, or float64, shape [rows].
    """

    name: str
    confidences: Float32
    right: Bool
    cost: float | Float64

    def __post_init__(self) -> None:
        rows, shape = len(self.confidences), np.shape(self.cost)
        if len(self.right) != rows or shape not in ((), (rows,)):
            raise ValueError(
                f"{self.name}: expected as many answers and costs as confidences, found {rows} "
                f"confidences, {len(self.right)} answers and costs of shape {shape}"
            )
        if self.confidences.dtype != np.float32:
            raise ValueError(f"{self.name}: expected float32, found {self.confidences.dtype}")
        if not rows or np.isnan(self.confidences).any():
            raise ValueError(f"{self.name}: expected rows, and confidences without NaN")
        if not (np.isfinite(self.cost) & (np.asarray(self.cost) >= 0)).all():
            raise ValueError(f"{self.name}: expected costs of 0 or more, found {self.cost}")

    def __len__(self) -> int:
        return len(self.confidences)

    @property
    def costs(self) -> Float64:
        """Cost of every row that reaches it, shape [rows]."""
        return np.broadcast_to(np.asarray(self.cost, np.float64), len(self))

    @property
    def mean_cost(self) -> float:
        """Cost a row, if every row reaches it."""
        return float(self.costs.mean())


@dataclass(frozen=True)
class Demand:
    """A share that a chain must keep: agreement, or a filter's recall or precision.

    Attributes:
      value: the share that will be signed, 0 to 1.
      slack: by how much the choosing rows must go beyond it, so that fresh rows pass the test.
      rows: rows of which the share is asked, shape [rows]; None for all. Recall asks it of the rows
        that the last tier calls the label, agreement in a class of that class.
      precision: whether it is asked of what the chain calls the label; `rows` are those that the
        last tier calls so.
    """

    value: float
    slack: float = 0.0
    rows: Bool | None = None
    precision: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.value < 1 or self.slack < 0:
            raise ValueError(
                "expected a share between 0 and 1 and a slack of 0 or more, found "
                f"{self.value} and {self.slack}"
            )
        if self.precision and self.rows is None:
            raise ValueError("expected the rows of the label for a precision, found none")

    @property
    def aim(self) -> float:
        """The share that the choosing rows must keep."""
        return min(1.0, self.value + self.slack)

    def losses(self, right: Bool) -> Float64:
        """What each row counts against the demand where it gets this answer, shape [rows]."""
        if self.precision:
            calls, false = self._calls(right)
            return false - (1 - self.aim) * calls
        return (~right if self.rows is None else ~right & self.rows).astype(np.float64)

    def allowed(self, rows: int) -> float:
        """The most that may count against it in all."""
        if self.precision:
            return 0.0
        counted = rows if self.rows is None else int(self.rows.sum())
        return math.floor((1 - self.aim) * counted + ROUNDING)

    def kept(self, right: Bool) -> float:
        """The share that answers keep: 1 where there is no row to keep it on."""
        if self.precision:
            calls, false = self._calls(right)
            return 1 - float(false.sum()) / max(1, int(calls.sum()))
        counted = right if self.rows is None else right[self.rows]
        return float(counted.mean()) if len(counted) else 1.0

    def _calls(self, right: Bool) -> tuple[Bool, Bool]:
        """Rows that are called the label, and those of them that the last tier does not call so."""
        assert self.rows is not None
        called = right == self.rows
        return called, called & ~self.rows


@dataclass(frozen=True)
class Budget:
    """What a chain may spend; within it, it shall agree with the last tier as often as it can.

    Attributes:
      escalation: share of the rows that may reach the last tier.
      cost: mean a row.
    """

    escalation: float | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        if self.escalation is None and self.cost is None:
            raise ValueError("expected a budget of escalation or of cost, found none")


@dataclass(frozen=True)
class Chain:
    """Tiers with their thresholds, and what they do on the choosing rows.

    Attributes:
      tiers: names, the first tier first.
      thresholds: of every tier but the last, each a float32 that a certificate may hold.
      reaching: share of the rows that reach each tier; the first's is 1.
      agreement: share of all rows that get the answer of the last tier of all.
      kept: the share that each demand gets, in their order.
      cost: mean a row.
    """

    tiers: tuple[str, ...]
    thresholds: tuple[float, ...]
    reaching: tuple[float, ...]
    agreement: float
    kept: tuple[float, ...]
    cost: float


def routed(
    tiers: Sequence[Candidate], thresholds: Sequence[float], demands: Sequence[Demand] = ()
) -> Chain:
    """What a chain does with the choosing rows, routed just as a job routes them.

    Args:
      tiers: the chain's, in order.
      thresholds: of every tier but the last.
      demands: shares to report.
    """
    right, answered = routing.cascade_answers(
        [tier.right for tier in tiers], [tier.confidences for tier in tiers[:-1]], thresholds
    )
    reaching = [answered > number for number in range(len(tiers))]
    spent = sum(float(tier.costs[here].sum()) for tier, here in zip(tiers, reaching, strict=True))
    return Chain(
        tiers=tuple(tier.name for tier in tiers),
        thresholds=tuple(map(float, thresholds)),
        reaching=tuple(float(here.mean()) for here in reaching),
        agreement=float(right.mean()),
        kept=tuple(demand.kept(right) for demand in demands),
        cost=spent / len(right),
    )


def aimed_share(
    value: float,
    delta: float,
    signing_rows: int,
    choosing_rows: int | None = None,
    probability: float = 0.9,
) -> float:
    """The share that thresholds must keep for fresh rows to sign with some probability.

    The exact test signs up to k errors (`bounds.most_errors`). Rows that err with probability p
    have at most k errors with the probability wanted where p is the lower bound of Clopper and
    Pearson (1934) at k + 1 errors. Where the share is only known from choosing rows, p has the
    posterior of a uniform prior, and the errors of fresh rows are beta-binomial (Gelman et al.,
    Bayesian Data Analysis, section 2.5). A search finds the thresholds that look best on these very
    rows, so `OPTIMISM` standard deviations are added to their errors. For a budget of escalation
    take 1 - budget.

    Args:
      value: the share to be signed, 0 to 1.
      delta: level of the test.
      signing_rows: fresh rows that count for the share.
      choosing_rows: rows that count on which the share is measured; None: it is the true one.
      probability: with which fresh rows are to sign. Where they may walk the plan's path, a half
        is enough: they then sign wherever on it they can.

    Returns:
      The share, 1 where even choosing rows without an error promise less; less `value` it is a
      demand's slack.

    Raises:
      ValueError: so few rows that no sample of them signs.
    """
    most = bounds.most_errors(signing_rows, 1 - value, delta)
    if most < 0:
        raise ValueError(
            f"expected at least {bounds.fewest_rows(value, delta)} rows that sign for {value} at "
            f"delta {delta}, found {signing_rows}"
        )
    if choosing_rows is None:
        return 1 - bounds.lower(most + 1, signing_rows, 1 - probability)
    low, high = -1, choosing_rows
    while high - low > 1:
        middle = (low + high) // 2
        signs = _signs(middle, choosing_rows, most, signing_rows) >= probability
        low, high = (middle, high) if signs else (low, middle)
    return 1 - max(0, low) / choosing_rows


def _signs(errors: int, choosing_rows: int, most: int, signing_rows: int) -> float:
    """Probability that fresh rows have at most so many errors, told by those of other rows."""
    middles = (np.arange(2000) + 0.5) / 2000
    likely = min(choosing_rows, errors + OPTIMISM * math.sqrt(errors))
    chances = special.betaincinv(likely + 1, choosing_rows - likely + 1, middles)
    return float(special.betaincc(most + 1, signing_rows - most, chances).mean())
