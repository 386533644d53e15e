"""Speedup with a threshold chosen on one half of the rows and scored on the other. Pure NumPy.

A threshold read off the rows on which it is scored has seen their labels: among hundreds of
thresholds the best one is partly lucky. Here it is chosen on a random half, as a user would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tango_beam import routing
from tango_beam.evaluation.curves import Scored, cascade_curve, cheapest
from tango_beam.evaluation.metrics import Metric, tally

FloatArray = npt.NDArray[np.float64]


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

    thresholds: FloatArray
    escalated: FloatArray
    scores: FloatArray
    references: FloatArray
    share: float

    @property
    def kept(self) -> FloatArray:
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

    The lowest is the one that escalates fewest rows, hence the fastest. It is 1, everything
    escalated, where none will do or the last tier's score is not above 0.
    """
    curve = cascade_curve(scored, metric)
    # A stand-in for speedups: on any machine, more escalated rows are slower.
    step = cheapest(curve.scores, -curve.escalated.astype(float), scored.reference(metric), share)
    return 1.0 if step is None else float(curve.thresholds[step])


def halves(rows: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
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
      splits: how often.
      seed: of the halves.

    Raises:
      ValueError: fewer than two rows.
    """
    found = []
    for split in range(splits):
        choosing, scoring = halves(len(scored), seed + split)
        threshold = choose_threshold(scored.take(choosing), metric, share)
        other = scored.take(scoring)
        complex_rows = routing.is_complex(other.confidences, threshold)
        answers = np.where(complex_rows, other.later, other.first)
        score = float(metric(tally(other.targets, answers, other.labels)))
        found.append((threshold, complex_rows.mean(), score, other.reference(metric)))
    thresholds, escalated, scores, references = np.array(found, float).reshape(-1, 4).T
    return Splits(thresholds, escalated, scores, references, share)
