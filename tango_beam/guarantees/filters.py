"""What a filter promises of the rows that are called its label: recall and precision. Pure NumPy.

A filter's first tier puts each row on a side: it calls it the label, or not; each side has a
threshold of its own. Misses come from accepted rows of the side "not" alone, and false calls from
those of the side that calls the label. So each promise decides the threshold of one side, and as
that falls, what counts against the promise only grows: the walk down needs no correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tango_beam.arrays import Bool
from tango_beam.guarantees import bounds
from tango_beam.guarantees.certificate import Guarantee
from tango_beam.guarantees.guarantees import lowest_on_path
from tango_beam.guarantees.thresholds import lowest_threshold
from tango_beam.guarantees.tier_answers import TierAnswers

RECALL, PRECISION = "recall", "precision"


class Sides(NamedTuple):
    """Thresholds of a filter's first tier.

    Attributes:
      threshold: of rows that it does not call the label.
      label_threshold: of rows that it does; None where both sides share the threshold.
    """

    threshold: float
    label_threshold: float | None = None

    def at_least(self, threshold: float) -> Sides:
        """Both sides, none of them under a threshold that another promise takes."""
        label = None if self.label_threshold is None else max(threshold, self.label_threshold)
        return Sides(max(threshold, self.threshold), label)


class Promise(NamedTuple):
    """A goal of a filter: `recall` or `precision`, the share promised, and the level."""

    goal: str
    value: float
    delta: float


def recall_threshold(sample: TierAnswers, goal: float, delta: float) -> float:
    """The lowest threshold of the side "not" that keeps the recall.

    Of the rows that the last tier gives the label, however many they are, the missed ones are
    binomial.

    Args:
      sample: of a filter of two tiers.
      goal: share of the rows that the last tier calls the label, 0 to 1.
      delta: level.
    """
    first, last = sample.called
    allowed = bounds.most_errors(int(last.sum()), 1 - goal, delta)
    return lowest_threshold(sample.confidences[0][~first], last[~first], allowed)


def precision_threshold(sample: TierAnswers, goal: float, delta: float) -> float:
    """The lowest threshold of the side that calls the label that keeps the precision.

    The other side is taken to accept all its rows. At any other threshold of it more rows are
    called the label rightly, so that the promise holds for each of them.

    Args:
      sample: of a filter of two tiers.
      goal: share of the rows that the cascade calls the label, 0 to 1.
      delta: level.
    """
    first, last = sample.called
    allowed = bounds.most_false(int((first & last).sum()), 1 - goal, delta)
    return lowest_threshold(sample.confidences[0][first], ~last[first], allowed)


def sides(sample: TierAnswers, promises: list[Promise]) -> Sides:
    """The lowest thresholds of two tiers that keep the promises.

    A side that no promise is about shares the other's threshold.
    """
    find = {RECALL: recall_threshold, PRECISION: precision_threshold}
    found = {one.goal: find[one.goal](sample, one.value, one.delta) for one in promises}
    both = len(found) == 2
    return Sides(*found.values()) if not both else Sides(found[RECALL], found[PRECISION])


def sign(sample: TierAnswers, promises: list[Promise], at: Sides, label: str) -> list[Guarantee]:
    """What a sample of two tiers says of promises at given thresholds."""
    accepted = sample.accepts_any((at.threshold,), at.label_threshold)
    signed = []
    for one in promises:
        # Precision is tested with the side "not" accepting all.
        shared = at.threshold if at.label_threshold is None else at.label_threshold
        low = Sides(0.0, shared) if one.goal == PRECISION else at
        called = sample.calls((low.threshold,), low.label_threshold)
        found = _guarantee(one, called, sample, (at.threshold,), label)
        found = replace(found, label_threshold=at.label_threshold, met=found.met and accepted)
        signed.append(found)
    return signed


def path_sign(
    fit: TierAnswers,
    test: TierAnswers,
    promises: list[Promise],
    label: str,
    path: Sequence[tuple[float, ...]] = (),
) -> list[Guarantee]:
    """Promises of a filter of three tiers or more, along one path, up to the first failure.

    Nothing is monotone there: a later tier that escalates less may call a row otherwise.

    Args:
      fit: rows for the path, none of them in `test`.
      test: rows that test.
      promises: with their shares of delta.
      label: the filter's.
      path: to go along instead of the one that `fit` gives.
    """

    def at(point: tuple[float, ...]) -> list[Guarantee]:
        called = test.calls(point)
        return [_guarantee(one, called, test, point, label) for one in promises]

    point = lowest_on_path(collapsed(fit), lambda point: all(one.met for one in at(point)), path)
    accepted = test.accepts_any(point)
    return [replace(one, met=one.met and accepted) for one in at(point)]


def collapsed(sample: TierAnswers) -> TierAnswers:
    """The same rows with two answers: the label (1), or not (0)."""
    answers = tuple(called.astype(np.int64) for called in sample.called)
    return replace(sample, answers=answers)


def _guarantee(
    promise: Promise,
    called: Bool,
    sample: TierAnswers,
    thresholds: tuple[float, ...],
    label: str,
) -> Guarantee:
    """A promise tested on what a cascade calls the label; `met` where the exact test passes."""
    wanted = sample.called[-1]
    counted = wanted if promise.goal == RECALL else called
    rows, errors = int(counted.sum()), int((counted & (called != wanted)).sum())
    p_value = float(bounds.p_values(errors, rows, 1 - promise.value))
    return Guarantee(
        goal=promise.goal,
        value=promise.value,
        delta=promise.delta,
        thresholds=thresholds,
        rows=rows,
        errors=errors,
        bound=1 - bounds.upper(errors, rows, promise.delta),
        met=p_value <= promise.delta,
        method="exact binomial",
        label=label,
    )


def rows_needed(goal: float, delta: float, share: float) -> int:
    """Rows of a corpus that it takes at least to sign for a recall or a precision.

    Nothing short of the rows of the label tells of them: weights by the first tier's score prove
    no more without assumptions, since misses may sit where the weights are lowest.

    Args:
      goal: the recall or precision, 0 to 1.
      delta: level.
      share: of the rows, of the label.
    """
    return math.ceil(math.log(1 / delta) / ((1 - goal) * share))
