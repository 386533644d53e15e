"""A sample that every tier has answered, and what a cascade makes of it. Pure NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tango_beam import routing
from tango_beam.calibration.threshold import BELOW_ONE, lowest_threshold

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """Rows with the answer of every tier.

    Attributes:
      confidences: of every tier but the last, float32, shape [rows] each.
      answers: of every tier, index into the labels, shape [rows] each.
      truth: right labels, shape [rows]; None where there are none.
    """

    confidences: tuple[FloatArray, ...]
    answers: tuple[IntArray, ...]
    truth: IntArray | None = None

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

    def take(self, rows: IntArray | BoolArray) -> Judged:
        """Some of the rows."""
        return Judged(
            tuple(part[rows] for part in self.confidences),
            tuple(part[rows] for part in self.answers),
            None if self.truth is None else self.truth[rows],
        )

    @property
    def last(self) -> IntArray:
        """The last tier's answers, against which all others are judged."""
        return self.answers[-1]

    def cascaded(self, thresholds: Sequence[float]) -> tuple[IntArray, IntArray]:
        """Answer of the cascade and number of the tier that gives it (1 first), shape [rows]."""
        answers = self.last.copy()
        tier = np.full(len(self), len(self.answers), np.int64)
        waiting = np.ones(len(self), bool)
        steps = zip(self.confidences, self.answers, thresholds, strict=False)
        for number, (confidence, answer, threshold) in enumerate(steps, start=1):
            simple = waiting & ~routing.is_complex(confidence, threshold)
            answers[simple], tier[simple] = answer[simple], number
            waiting &= ~simple
        return answers, tier

    def disagrees(self, thresholds: Sequence[float]) -> BoolArray:
        """Rows on which the cascade's answer is not the last tier's, shape [rows]."""
        return self.cascaded(thresholds)[0] != self.last


def path_of_thresholds(fit: Judged, steps: int = 100) -> list[tuple[float, ...]]:
    """Thresholds from the safest down, each tier's taken from quantiles of rows that only fit.

    With two tiers, quantiles of the first tier's confidence. With more, point after point every
    tier may accept as many disagreements among these rows as every other.

    Args:
      fit: rows that take no part in the test.
      steps: points on the path.

    Returns:
      Tuples with a threshold for every tier but the last, without repeats, all at least 0.
    """
    if len(fit.confidences) == 1:
        quantiles = np.linspace(1, 0, steps + 1)[1:]
        reachable = np.minimum(fit.confidences[0], BELOW_ONE)
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
