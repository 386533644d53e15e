"""The metric of a cascade at every threshold, beside random and oracle routing. Pure NumPy.

A *routing* says which rows go on to the tiers behind the first. Each routing here is an order in
which rows are escalated; a point of its curve is how many of them are. The baselines are those of
TangoBERT, section 5.2.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tango_beam import routing
from tango_beam.arrays import Float32, Float64, Int64
from tango_beam.evaluation.metrics import Metric

# Random orders from which the band of random routing is read.
DRAWS = 50


@dataclass(frozen=True)
class Scored:
    """Labelled rows with every answer that a routing can give them (see `metrics`).

    Attributes:
      targets: the right answers, shape [rows, ...].
      first: the first tier's answers.
      later: what the tiers behind it answer, if the row is escalated.
      last: the last tier's answers, with which a cascade is compared; with two tiers, `later`.
      confidences: the first tier's, float32, shape [rows], without NaN.
    """

    targets: npt.NDArray
    first: npt.NDArray
    later: npt.NDArray
    last: npt.NDArray
    confidences: Float32

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: Int64) -> Scored:
        """Some of the rows."""
        return Scored(*(part[rows] for part in vars(self).values()))

    def routed(self, threshold: float) -> tuple[npt.NDArray, float]:
        """The cascade's answers at a threshold, and the share of rows escalated."""
        tiers = (self.first, self.later)
        answers, tier = routing.cascade_answers(tiers, [self.confidences], [threshold])
        return answers, float((tier > 1).mean())

    def reference(self, metric: Metric) -> float:
        """The last tier's score on all rows."""
        return metric(self.last, self.targets)


@dataclass(frozen=True)
class Curve:
    """A score at every threshold, in ascending order of escalation.

    Attributes:
      thresholds: float64, shape [steps]; 0 first, 1 last.
      escalated: rows that it escalates, int64, shape [steps], strictly ascending from 0 to all.
      scores: of the cascade at the threshold, float64, shape [steps].
    """

    thresholds: Float64
    escalated: Int64
    scores: Float64


@dataclass(frozen=True)
class Band:
    """What random routing scores, at given numbers of escalated rows; float64, shape [steps].

    Attributes:
      expected: the metric of the expected counts; for a mean over rows a straight line, and exact.
      low: 5 % of the draws lie under it.
      high: 5 % of the draws lie above it.
    """

    expected: Float64
    low: Float64
    high: Float64


def steps(confidences: Float32) -> tuple[Float64, Int64]:
    """Every different routing that a threshold makes: thresholds, and rows that each escalates.

    Equal confidences go together. The rule is `routing.is_complex`: under the threshold a row is
    escalated, and at 1 every row is.

    Args:
      confidences: float32, shape [rows], without NaN.

    Returns:
      Thresholds, float64, and escalated rows, int64, both of shape [steps].
    """
    ordered = np.sort(confidences)
    inner = ordered[(ordered > 0) & (ordered < 1)].astype(float)
    thresholds = np.unique(np.concatenate([[0.0], inner, [float(routing.BELOW_ONE)]]))
    escalated = np.searchsorted(ordered, thresholds.astype(np.float32), side="left")
    escalated, firsts = np.unique(escalated, return_index=True)
    thresholds = thresholds[firsts]
    partial = escalated < len(ordered)
    return (
        np.append(thresholds[partial], 1.0),
        np.append(escalated[partial], len(ordered)).astype(np.int64),
    )


def evenly(count: int, most: int) -> Int64:
    """At most `most` evenly spaced places of a curve with `count` points, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))


def confidence_order(scored: Scored) -> Int64:
    """Rows in the order in which a rising threshold escalates them, int64, shape [rows]."""
    return np.argsort(scored.confidences, kind="stable")


def oracle_order(scored: Scored, metric: Metric) -> Int64:
    """Rows in the oracle's order, int64, shape [rows] (TangoBERT, section 5.2.4).

    First those that escalation gains most on, last those that it loses most on, the least confident
    first among equals. Of a mean over rows, such as accuracy, no routing that escalates as many
    rows has a higher one. Of a share of two sums, such as micro F1, what a row gains is counted at
    the highest share that any routing reaches, so that the curve passes through it.
    """
    seen = metric.oracle
    before = seen.counts(scored.first, scored.targets)
    change = seen.counts(scored.later, scored.targets) - before
    gain = change @ [1, -_highest(before, change)]
    return np.lexsort((scored.confidences, -gain))


def _highest(before: Float64, change: Float64) -> float:
    """The highest share of two sums that any choice of rows to change gives (Dinkelbach, 1967)."""
    best, found = -1.0, 0.0
    while found > best:
        best = found
        above, below = before.sum(axis=0) + change[change @ [1, -best] > 0].sum(axis=0)
        found = above / below if below else 0.0
    return best


def random_order(rows: int, seed: int) -> Int64:
    """Rows in random order, int64, shape [rows]."""
    return np.random.default_rng(seed).permutation(rows)


def scores_along(scored: Scored, metric: Metric, order: Int64, escalated: Int64) -> Float64:
    """Scores after escalating the first rows of an order, float64, shape [steps].

    Args:
      scored: the rows.
      metric: what to compute.
      order: all row numbers, int64, shape [rows].
      escalated: how many go on, int64, shape [steps].
    """
    before, change = _counts(scored, metric)
    running = np.cumsum(change[order], axis=0)
    return metric.of(before + np.vstack([np.zeros_like(before), running])[escalated])


def _counts(scored: Scored, metric: Metric) -> tuple[Float64, Float64]:
    """Sums of the first tier's counts, and by how much escalating each row changes them."""
    first = metric.counts(scored.first, scored.targets)
    return first.sum(axis=0), metric.counts(scored.later, scored.targets) - first


def cascade_curve(scored: Scored, metric: Metric) -> Curve:
    """The cascade's score at every threshold of the first tier (TangoBERT, Figure 2)."""
    thresholds, escalated = steps(scored.confidences)
    scores = scores_along(scored, metric, confidence_order(scored), escalated)
    return Curve(thresholds, escalated, scores)


def oracle_scores(scored: Scored, metric: Metric, escalated: Int64) -> Float64:
    """The oracle's score for as many escalated rows, float64, shape [steps]."""
    return scores_along(scored, metric, oracle_order(scored, metric), escalated)


def random_band(
    scored: Scored, metric: Metric, escalated: Int64, *, draws: int = DRAWS, seed: int = 0
) -> Band:
    """What routing at random scores for as many escalated rows.

    Escalating all rows changes each count by some number; escalating a random share of them changes
    it by that share of the number, in expectation. A mean over rows, such as accuracy, is linear in
    the counts, so its line is straight.

    Args:
      scored: the rows.
      metric: what to compute.
      escalated: how many rows go on, int64, shape [steps].
      draws: random orders from which the band is read.
      seed: of the draws.
    """
    before, change = _counts(scored, metric)
    share = (escalated / max(1, len(scored)))[:, None]
    drawn = [
        scores_along(scored, metric, random_order(len(scored), seed + draw), escalated)
        for draw in range(draws)
    ]
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    return Band(metric.of(before + share * change.sum(axis=0)), low, high)


def cheapest(scores: Float64, speedups: Float64, reference: float, share: float) -> int | None:
    """The step of the largest speedup that keeps a share of the last tier's score.

    With a share of 0.99 it is speedup@99 (TangoBERT, Table 2). Of equally fast steps, the first.

    Args:
      scores: of the curve, float64, shape [steps].
      speedups: float64, shape [steps].
      reference: the last tier's score.
      share: 0 to 1.

    Returns:
      An index into the steps; None where no step keeps it, or the reference is not above 0 (a share
      of it then means nothing).
    """
    if not reference > 0:
        return None
    fine = np.flatnonzero(scores >= share * reference - 1e-12)
    return int(fine[np.argmax(speedups[fine])]) if len(fine) else None
