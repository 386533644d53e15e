"""Speedup with a threshold chosen on one half of the rows and scored on the other. Pure NumPy.

A threshold read off the rows on which it is scored has seen their labels: among hundreds of
thresholds the best one is partly lucky. Here it is chosen on a random half, as a user would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tango_beam.arrays import Float64, Int64
from tango_beam.evaluation.curves import Scored, cascade_curve, cheapest
from tango_beam.evaluation.metrics import Metric


@dataclass(frozen=True)
class Splits:
    """One entry a split; float64, shape [splits].

    Attributes:
      thresholds: chosen on one half.
      escalated: share of the other half's rows that it escalates, 0 to 1.
      scores: the cascade's metric on the other half.
      references: the last tier's metric on the other half.
      share: the share of the last tier's score that was asked for.
    """

    thresholds: Float64
    escalated: Float64
    scores: Float64
    references: Float64
    share: float

    @property
    def kept(self) -> Float64:
        """The cascade's score over the last tier's, on the other half; NaN where that is 0."""
        where = self.references != 0
        nothing = np.full(len(self.scores), np.nan)
        return np.divide(self.scores, self.references, out=nothing, where=where)

    @property
    def reached(self) -> float:
        """Share of the splits in which the other half kept what the choosing half promised."""
        return float(np.mean(self.scores >= self.share * self.references - 1e-12))


def choose_threshold(scored: Scored, metric: Metric, share: float) -> float:
    """The lowest threshold at which the cascade keeps a share of the last tier's score.

    The lowest escalates the fewest rows, hence it is the fastest. Where no threshold keeps the
    share, or the last tier's score is not above 0, it is 1, which escalates everything.
    """
    curve = cascade_curve(scored, metric)
    # No speedups are needed: on any machine, more escalated rows are slower.
    step = cheapest(curve.scores, -curve.escalated.astype(float), scored.reference(metric), share)
    return 1.0 if step is None else float(curve.thresholds[step])


def halves(rows: int, seed: int) -> tuple[Int64, Int64]:
    """Two random halves of the row numbers, the first the smaller where they are odd.

    Raises:
      ValueError: fewer than two rows.
    """
    if rows < 2:
        raise ValueError(f"expected at least 2 rows to halve, found {rows}")
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[: rows // 2]), np.sort(order[rows // 2 :])


def score_splits(scored: Scored, metric: Metric, share: float, *, splits: int, seed: int) -> Splits:
    """Chooses a threshold on a random half, scores the other half with it, several times.

    Args:
      scored: all rows.
      metric: what is to be kept.
      share: of the last tier's score, 0 to 1.
      splits: how often rows are halved.
      seed: of the halves.

    Raises:
      ValueError: fewer than two rows.
    """
    outcomes = []
    for split in range(splits):
        choosing, scoring = halves(len(scored), seed + split)
        threshold = choose_threshold(scored.take(choosing), metric, share)
        other = scored.take(scoring)
        answers, share_escalated = other.routed(threshold)
        score = metric(answers, other.targets)
        outcomes.append((threshold, share_escalated, score, other.reference(metric)))
    thresholds, escalated, scores, references = np.array(outcomes, float).reshape(-1, 4).T
    return Splits(thresholds, escalated, scores, references, share)
