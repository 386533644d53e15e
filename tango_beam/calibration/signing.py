"""Which threshold can be signed for: each goal with the exact test that carries it. Pure NumPy.

Every function here may be wrong with probability delta over the draw of the sample, and says so in
the same words: `Signed.met` means that the goal holds for the rows that the sample stands for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tango_beam.calibration import betting, bounds
from tango_beam.calibration.judged import IntArray, Judged, path_of_thresholds
from tango_beam.calibration.threshold import highest_threshold, lowest_threshold

NOTHING = 1.0


@dataclass(frozen=True)
class Signed:
    """A promise.

    Attributes:
      goal: what is promised: `agreement`, `accuracy_retained`, `class_agreement` or `escalation`.
      value: the share promised, 0 to 1.
      delta: probability, over the draw of the sample, that the promise is broken.
      thresholds: for every tier but the last.
      rows: of the sample that tested it.
      errors: rows among them that count against the goal at these thresholds.
      bound: the share that the sample proves at level delta for these thresholds: at least that
        agreement, or at most that escalation; None for `accuracy_retained`, whose test says yes or
        no. For thresholds read off the same rows it is what the test used, not a fresh estimate.
      met: whether any row is accepted under the promise.
      method: name of the test.
      label: the class, for `class_agreement`.
    """

    goal: str
    value: float
    delta: float
    thresholds: tuple[float, ...]
    rows: int
    errors: int
    bound: float | None
    met: bool
    method: str
    label: str | None = None


def agreement(judged: Judged, goal: float, delta: float, corpus: int | None = None) -> Signed:
    """The lowest threshold of two tiers that agrees with the last tier on the goal's share.

    No grid: see `threshold.lowest_threshold`.

    Args:
      judged: the sample.
      goal: share of all rows, 0 to 1.
      delta: level.
      corpus: rows of the corpus it was drawn from; None: no end.
    """
    allowed = bounds.most_errors(len(judged), 1 - goal, delta, corpus)
    wrong = judged.answers[0] != judged.last
    threshold = lowest_threshold(judged.confidences[0], wrong, allowed)
    return sign_agreement(judged, (threshold,), goal, delta, corpus)


def sign_agreement(
    judged: Judged,
    thresholds: tuple[float, ...],
    goal: float,
    delta: float,
    corpus: int | None = None,
) -> Signed:
    """What the sample says of given thresholds and a goal of agreement."""
    errors = int(judged.disagrees(thresholds).sum())
    p_value = float(bounds.p_values(errors, len(judged), 1 - goal, corpus))
    accepts = bool((judged.cascaded(thresholds)[1] < len(judged.answers)).any())
    return Signed(
        goal="agreement",
        value=goal,
        delta=delta,
        thresholds=thresholds,
        rows=len(judged),
        errors=errors,
        bound=1 - bounds.upper(errors, len(judged), delta, corpus),
        met=accepts and p_value <= delta,
        method=_method(len(judged), corpus),
    )


def _method(rows: int, corpus: int | None) -> str:
    return "exact hypergeometric" if bounds.is_large_part(rows, corpus) else "exact binomial"


def class_agreement(
    judged: Judged, labels: tuple[str, ...], goal: float, delta: float
) -> list[Signed]:
    """For every class that the last tier gives, the threshold at which the goal holds in it.

    The classes share delta, so that all promises hold together with probability 1 - delta; the
    highest threshold of them keeps them all. Rows of a class are a binomial sample of it whatever
    their number.
    """
    given = [int(index) for index in np.unique(judged.last)]
    signed = []
    for index in given:
        part = judged.take(judged.last == index)
        one = agreement(part, goal, delta / len(given))
        signed.append(replace(one, goal="class_agreement", label=labels[index]))
    return signed


def path_agreement(
    fit: Judged, test: Judged, goal: float, delta: float, corpus: int | None = None
) -> Signed:
    """Thresholds of a cascade of three tiers or more; every tier is judged against the last.

    Lowering one threshold can take a row from a later tier that errs to an earlier one that does
    not, so errors are not monotone: a path fixed by `fit` is tested from the safest point down.
    """
    path = path_of_thresholds(fit)
    errors = [int(test.disagrees(point).sum()) for point in path]
    p = bounds.p_values(np.array(errors), len(test), 1 - goal, corpus)
    last = betting.last_passed(len(path), lambda index: bool(p[index] <= delta))
    thresholds = path[last] if last >= 0 else (NOTHING,) * len(test.confidences)
    return sign_agreement(test, thresholds, goal, delta, corpus)


def accuracy_retained(fit: Judged, test: Judged, rho: float, delta: float, seed: int) -> Signed:
    """The lowest threshold on a fixed grid at which the share rho of the accuracy is kept.

    The loss is not monotone (an accepted row can be right where the last tier is wrong), so the
    grid comes from `fit` and is tested from the safest point down; each test is a bet on the rows
    of `test` in a seeded order.

    Args:
      fit: rows for the grid, none of them in `test`.
      test: labelled rows.
      rho: share of the last tier's accuracy that the cascade keeps, 0 to 1.
      delta: level.
      seed: of the order of the rows.

    Raises:
      ValueError: no labels.
    """
    if test.truth is None:
        raise ValueError("expected labelled rows, found none")
    shuffled = test.take(np.random.default_rng(seed).permutation(len(test)))
    assert shuffled.truth is not None
    truth, last_right = shuffled.truth, shuffled.last == shuffled.truth
    path = path_of_thresholds(fit)

    def passes(index: int) -> bool:
        right = shuffled.cascaded(path[index])[0] == truth
        values = betting.retained(right, last_right, rho)
        return betting.rejects_negative_mean(values, delta, rho)

    found = betting.last_passed(len(path), passes)
    thresholds = path[found] if found >= 0 else (NOTHING,) * len(test.confidences)
    answers, tier = shuffled.cascaded(thresholds)
    return Signed(
        goal="accuracy_retained",
        value=rho,
        delta=delta,
        thresholds=thresholds,
        rows=len(test),
        errors=int((last_right & (answers != truth)).sum()),
        bound=None,
        met=bool((tier < len(test.answers)).any()),
        method="betting, fixed sequence",
    )


def escalation(
    confidences: np.ndarray, budget: float, delta: float, corpus: int | None = None
) -> Signed:
    """The highest first threshold that escalates at most the budget's share of rows.

    Escalation only grows with the threshold, so the sample's own confidences are walked up and the
    exact test needs no correction.

    Args:
      confidences: the first tier's on a large sample, float32, shape [rows].
      budget: share of rows that may be escalated.
      delta: level.
      corpus: rows of the corpus; None: no end.
    """
    allowed = bounds.most_errors(len(confidences), budget, delta, corpus)
    threshold = highest_threshold(confidences, allowed)
    escalated = int((confidences < np.float32(threshold)).sum())
    return Signed(
        goal="escalation",
        value=budget,
        delta=delta,
        thresholds=(threshold,),
        rows=len(confidences),
        errors=escalated,
        bound=bounds.upper(escalated, len(confidences), delta, corpus),
        met=allowed >= 0,
        method=_method(len(confidences), corpus),
    )


def prove_agreement(judged: Judged, thresholds: tuple[float, ...], delta: float) -> Signed:
    """The agreement that rows prove for thresholds that do not hang on them."""
    errors = int(judged.disagrees(thresholds).sum())
    proved = 1 - bounds.upper(errors, len(judged), delta)
    signed = sign_agreement(judged, thresholds, proved, delta)
    return replace(signed, met=proved > 0, bound=proved)


def at_one_threshold(
    signed: list[Signed], judged: Judged, *, labels: tuple[str, ...], corpus: int | None
) -> list[Signed]:
    """The promises as they stand at the highest of their thresholds, where all of them hold."""
    thresholds = max(one.thresholds for one in signed)
    accepts = bool((judged.cascaded(thresholds)[1] < len(judged.answers)).any())
    moved = []
    for one in signed:
        rows = np.flatnonzero(judged.last == labels.index(one.label)) if one.label else None
        part, size = (judged, corpus) if rows is None else (judged.take(rows), None)
        again = sign_agreement(part, thresholds, one.value, one.delta, size)
        # A class of which no row is accepted agrees whole; that some row is must hold for all.
        met = accepts and again.errors <= bounds.most_errors(
            len(part), 1 - one.value, one.delta, size
        )
        moved.append(replace(again, goal=one.goal, label=one.label, met=met))
    return moved


def by_class(
    judged: Judged, labels: tuple[str, ...], thresholds: tuple[float, ...], delta: float
) -> list[dict]:
    """Agreement with the last tier in every class that it gives, with exact two-sided intervals."""
    wrong = judged.disagrees(thresholds)
    tier = judged.cascaded(thresholds)[1]
    rows: list[dict] = []
    for index in np.unique(judged.last):
        here: IntArray = np.flatnonzero(judged.last == index)
        errors = int(wrong[here].sum())
        low, high = bounds.interval(errors, len(here), delta)
        rows.append(
            {
                "label": labels[int(index)],
                "rows": len(here),
                "disagreements": errors,
                "agreement": 1 - errors / len(here),
                "interval": [1 - high, 1 - low],
                "accepted": int((tier[here] < len(judged.answers)).sum()),
            }
        )
    return rows
