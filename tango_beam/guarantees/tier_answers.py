"""Rows that every tier has answered, and what a cascade makes of them. Pure NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tango_beam import routing
from tango_beam.arrays import Bool, Float32, Float64, Int64
from tango_beam.guarantees.thresholds import lowest_threshold


@dataclass(frozen=True)
class TierAnswers:
    """Rows with the answer of every tier.

    Attributes:
      confidences: of every tier but the last, float32, shape [rows] each.
      answers: of every tier, index into the labels, shape [rows] each.
      truth: right labels, shape [rows]; None where there are none.
      called: rows that each tier of a filter calls its label, shape [rows] each; none elsewhere.
    """

    confidences: tuple[Float32, ...]
    answers: tuple[Int64, ...]
    truth: Int64 | None = None
    called: tuple[Bool, ...] = ()

    def __post_init__(self) -> None:
        if len(self.confidences) != len(self.answers) - 1 or not self.confidences:
            raise ValueError(
                "expected two tiers or more, with confidences for all but the last, found "
                f"{len(self.answers)} tiers and {len(self.confidences)} with confidences"
            )
        lengths = {*map(len, self.confidences), *map(len, self.answers)}
        if len(lengths) != 1:
            raise ValueError(f"expected as many rows of every tier, found {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.answers[0])

    def take(self, rows: Int64 | Bool) -> TierAnswers:
        """Some of the rows."""
        return replace(
            self,
            confidences=tuple(part[rows] for part in self.confidences),
            answers=tuple(part[rows] for part in self.answers),
            truth=None if self.truth is None else self.truth[rows],
            called=tuple(part[rows] for part in self.called),
        )

    @property
    def last(self) -> Int64:
        """The last tier's answers, with which all others are compared."""
        return self.answers[-1]

    def cascaded(
        self, thresholds: Sequence[float], label_threshold: float | None = None
    ) -> tuple[Int64, Int64]:
        """Answer of the cascade and number of the tier that gives it (1 first), shape [rows].

        Args:
          thresholds: of every tier but the last.
          label_threshold: of a filter's first tier, for rows that it calls the label; None where
            both sides share a threshold.
        """
        limits: list[float | Float64] = [*thresholds]
        if label_threshold is not None:
            limits[0] = routing.of_sides(self.called[0], thresholds[0], label_threshold)
        return routing.cascade_answers(self.answers, self.confidences, limits)

    def calls(self, thresholds: Sequence[float], label_threshold: float | None = None) -> Bool:
        """Rows that a filter calls its label, shape [rows]."""
        _, tier = self.cascaded(thresholds, label_threshold)
        return np.stack(self.called)[tier - 1, np.arange(len(self))]

    def accepts_any(
        self, thresholds: Sequence[float], label_threshold: float | None = None
    ) -> bool:
        """Whether a tier before the last answers any row."""
        return bool((self.cascaded(thresholds, label_threshold)[1] < len(self.answers)).any())

    def disagrees(self, thresholds: Sequence[float], label_threshold: float | None = None) -> Bool:
        """Rows on which the cascade's answer is not the last tier's, shape [rows]."""
        return self.cascaded(thresholds, label_threshold)[0] != self.last


def path_of_thresholds(fit: TierAnswers, steps: int = 100) -> list[tuple[float, ...]]:
    """Thresholds from the safest down, each tier's taken from quantiles of rows that only fit.

    With two tiers, the thresholds are quantiles of the first tier's confidence. With more, every
    tier may accept the same number of disagreements among these rows; it grows along the path.

    Args:
      fit: rows that take no part in the test.
      steps: points on the path.

    Returns:
      Tuples with a threshold for every tier but the last, without repeats, all at least 0.
    """
    if len(fit.confidences) == 1:
        quantiles = np.linspace(1, 0, steps + 1)[1:]
        reachable = np.minimum(fit.confidences[0], routing.BELOW_ONE)
        values = np.quantile(reachable, quantiles, method="lower")
        return list(dict.fromkeys((float(value),) for value in values))
    wrong = [answer != fit.last for answer in fit.answers[:-1]]
    most = max(int(flags.sum()) for flags in wrong)
    points = []
    for allowed in np.unique(np.linspace(0, most, steps).astype(np.int64)):
        points.append(
            tuple(
                lowest_threshold(confidence, flags, int(allowed))
                for confidence, flags in zip(fit.confidences, wrong, strict=True)
            )
        )
    return list(dict.fromkeys(points))
